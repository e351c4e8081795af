/*
 * The Dataset panel in the browser: requesting the images when something has changed, thumbnails for those on the page, selecting
 * an image with the pointer and the keyboard, the names of uploaded files, and tags that are put into the caption. Names and
 * captions only ever become text, and thumbnails an image's address.
 */
(() => {
    "use strict";

    const LIST = "#te_dataset_list .te-dataset";
    const IMAGE = "#te_dataset_list .te-image[data-image]";
    const CAPTION = "#te_dataset_caption textarea";
    const NOT_SENT = "#te_dataset_upload, #te_dataset_editor, .label-wrap"; // buttons that send nothing by themselves
    const UPLOAD = "#te_dataset_upload input[type=file]";
    const TICK = 200;
    const AGAIN = 1500; // milliseconds between two requests while images are examined
    const LOST = 10000;
    const BATCH = 24;
    const RETRY = 700;
    const SLOW = 150; // milliseconds after which a click says that it is being worked on
    const KEPT = 2000; // thumbnails

    // ---- fields of the page ----------------------------------------------------------------------------------------

    function textOf(name) {
        return document.getElementById("te_dataset_texts")?.dataset[name] || "";
    }

    // ---- requesting the images -------------------------------------------------------------------------------------

    let shown = {filter: "", page: 0};
    let requestedAt = 0;
    let answeredAt = 0;
    let serial = ""; // of the list that was seen last
    let wanted = true; // whether the filter or the page was changed since the last request

    function panelIsVisible() {
        const panel = document.getElementById("te_dataset_list");
        return panel !== null && panel.offsetParent !== null && !document.hidden;
    }

    function updateWhenNeeded() {
        if (!panelIsVisible()) return;
        const list = document.querySelector(LIST);
        if (!list || (requestedAt > answeredAt && Date.now() - requestedAt < LOST)) return;
        const changed =
            list.dataset.folder !== teFields.text("te_dataset_open") ||
            list.dataset.version !== teFields.text("te_dataset_version");
        const examining = list.dataset.updating === "true" && Date.now() - answeredAt > AGAIN;
        if (wanted || changed) busy("busy");
        if (wanted || ((changed || examining) && !teFields.lost())) request();
    }

    function request() {
        const list = document.querySelector(LIST);
        if (list?.dataset.folder && list.dataset.folder !== teFields.text("te_dataset_open")) shown = {filter: "", page: 0};
        wanted = false;
        requestedAt = Date.now();
        teFields.ask("te_dataset_view", "te_dataset_update", JSON.stringify(shown));
    }

    function show(filter, page) {
        shown = {filter, page};
        wanted = true;
        busy("busy");
        updateWhenNeeded();
    }

    /** gradio 6 patches its HTML in place, so images may have kept the pictures of others. */
    function takeList() {
        const list = document.querySelector(LIST);
        if (!list || list.dataset.serial === serial) return;
        serial = list.dataset.serial;
        answeredAt = Date.now();
        shown.page = Number(list.dataset.number) || 0;
        idle();
        putPictures();
        if (goingTo) finishGoing();
        mark();
        askForPictures();
    }

    // ---- thumbnails ------------------------------------------------------------------------------------------------

    const known = new Map(); // folder, stamp and name: [thumbnail, mask]
    let large = {key: "", picture: null};
    let asked = null; // {serial, names, large, at}
    let number = 0;
    let retryAt = 0; // when to ask again for thumbnails of images that are being examined

    function keyOf(element) {
        return `${teFields.text("te_dataset_open")} ${element.dataset.picture} ${element.dataset.image}`;
    }

    function images() {
        return Array.from(document.querySelectorAll(IMAGE));
    }

    function putPictures() {
        for (const image of images()) setPicture(image, known.get(keyOf(image)));
        const details = document.querySelector("#te_dataset_details .te-dataset-image");
        if (details) setPicture(details, large.key === keyOf(details) ? large.picture : known.get(keyOf(details)));
    }

    function setPicture(element, pictures) {
        for (const [place, address] of [
            [".te-thumb", pictures?.[0]],
            [".te-mask", pictures?.[1]],
        ]) {
            const image = element.querySelector(place);
            if (!image) continue;
            const valid = Boolean(address) && address.startsWith("data:image/jpeg;base64,");
            if (image.hidden === valid) image.hidden = !valid;
            if (valid && image.src !== address) image.src = address;
        }
    }

    function askForPictures() {
        if (!panelIsVisible() || Date.now() < retryAt || (asked && Date.now() - asked.at < LOST)) return;
        const missing = images().filter((image) => image.dataset.picture && !known.has(keyOf(image)));
        const details = document.querySelector("#te_dataset_details .te-dataset-image[data-image]");
        const enlarged = details?.dataset.picture && large.key !== keyOf(details) ? details : null;
        if (missing.length === 0 && !enlarged) return;
        const some = missing.slice(0, BATCH);
        retryAt = 0;
        asked = {serial: ++number, keys: some.map((image) => [image.dataset.image, keyOf(image)]), at: Date.now()};
        asked.large = enlarged ? keyOf(enlarged) : "";
        const names = some.map((image) => image.dataset.image);
        teFields.ask(
            "te_dataset_wanted",
            "te_dataset_draw",
            JSON.stringify({serial: number, names, large: enlarged?.dataset.image || ""}),
        );
    }

    function takePictures() {
        const answer = document.querySelector("#te_dataset_pictures [data-serial]");
        if (!answer || !asked || answer.dataset.serial !== String(asked.serial)) return;
        const pictures = JSON.parse(answer.dataset.pictures);
        if (known.size > KEPT) known.clear();
        const examining = document.querySelector(LIST)?.dataset.updating === "true";
        for (const [name, key] of asked.keys) {
            if (pictures[name]) known.set(key, pictures[name]);
            else if (!examining) known.set(key, ["", ""]); // it has none
        }
        const lacking = asked.keys.some(([, key]) => !known.has(key));
        if (asked.large) large = {key: asked.large, picture: pictures[""] || null};
        asked = null;
        putPictures();
        if (!lacking) askForPictures();
        else retryAt = Date.now() + RETRY;
    }

    // ---- selecting -------------------------------------------------------------------------------------------------

    let selected = "";
    let goingTo = null; // "first" or "last": the image to select when the next page is there
    let typing = false; // whether the caption gets the focus with the next image

    function select(image, withCaption) {
        selected = image.dataset.image;
        typing = withCaption;
        const caption = document.querySelector(CAPTION);
        if (caption) caption.readOnly = teFields.text("te_dataset_current") !== selected; // until the new caption is there
        mark();
        busy("busy");
        teFields.ask("te_dataset_selected", "te_dataset_select", selected);
    }

    /** Marks the selected image; one image at a time is a stop of the Tab key, and the arrows go on from there. */
    function mark() {
        const all = images();
        const stop = all.find((image) => image.dataset.image === selected) || all[0];
        for (const image of all) {
            const on = String(image.dataset.image === selected);
            if (image.getAttribute("aria-selected") !== on) image.setAttribute("aria-selected", on);
            const index = image === stop ? 0 : -1;
            if (image.tabIndex !== index) image.tabIndex = index;
        }
    }

    /** Selects the next image or the one before, also on another page. */
    function go(step) {
        const all = images();
        const at = all.findIndex((image) => image.dataset.image === selected);
        const next = all[at + step];
        if (next && at + step >= 0) {
            select(next, true);
            next.scrollIntoView({block: "nearest"});
            return;
        }
        const list = document.querySelector(LIST);
        const page = Number(list?.dataset.number) + step;
        if (!list || page < 0 || page >= Number(list.dataset.pages)) return;
        goingTo = step > 0 ? "first" : "last";
        show(shown.filter, page);
    }

    function finishGoing() {
        const all = images();
        const image = goingTo === "first" ? all[0] : all[all.length - 1];
        goingTo = null;
        if (image) select(image, true);
    }

    /** After an error or a removal, the image that is shown is not the one that was clicked last. */
    function takeDetails() {
        const details = document.querySelector("#te_dataset_details .te-dataset-image");
        const caption = document.querySelector(CAPTION);
        const current = teFields.text("te_dataset_current");
        if (details && details.dataset.image === current && current !== shownImage) {
            shownImage = selected = current;
            if (caption) {
                caption.readOnly = false;
                if (typing) {
                    caption.focus();
                    caption.setSelectionRange(caption.value.length, caption.value.length);
                }
            }
            typing = false;
        }
        if (!details) shownImage = "";
        idle();
        mark();
        putPictures();
        pressTags();
        askForPictures();
    }

    let shownImage = "";

    function takeMessage() {
        idle();
        const caption = document.querySelector(CAPTION);
        if (!document.querySelector("#te_dataset_status .te-bad")) return;
        if (caption) caption.readOnly = false; // the next image was refused, and the caption is still there
        selected = teFields.text("te_dataset_current") || selected;
        mark();
    }

    document.addEventListener("click", (event) => {
        if (!event.isTrusted || !(event.target instanceof Element)) return; // the script clicks buttons too
        const image = event.target.closest(IMAGE);
        const filter = event.target.closest("#te_dataset_list [data-filter]");
        const page = event.target.closest("#te_dataset_list [data-page]");
        const tag = event.target.closest("#te_dataset_tags [data-tag]");
        if (image) select(image, false);
        else if (filter) show(filter.dataset.filter, 0);
        else if (page) show(shown.filter, Number(page.dataset.page));
        else if (tag) toggleTag(tag.dataset.tag);
        else if (event.target.closest("#te_dataset button") && !event.target.closest(NOT_SENT)) busy("busy");
    });

    document.addEventListener("te-dataset-busy", () => busy("busy"));

    document.addEventListener("keydown", (event) => {
        if (!(event.target instanceof Element) || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        if (event.target.matches(IMAGE)) keyOnImage(event);
        else if (event.target.matches(CAPTION)) keyInCaption(event);
    });

    function keyOnImage(event) {
        const all = images();
        const at = all.indexOf(event.target);
        const columns = all.filter((image) => image.offsetTop === all[0].offsetTop).length;
        const goals = {
            ArrowRight: at + 1,
            ArrowLeft: at - 1,
            ArrowDown: at + columns,
            ArrowUp: at - columns,
            Home: 0,
            End: all.length - 1,
        };
        if (event.key === "Enter" || event.key === " ") select(event.target, event.key === "Enter");
        else if (event.key in goals) all[goals[event.key]]?.focus();
        else return;
        event.preventDefault();
    }

    function keyInCaption(event) {
        const {selectionStart: start, selectionEnd: end, value} = event.target;
        const atAnEnd = start === end && (start === 0 || start === value.length);
        if (event.key === "Enter" && !event.shiftKey) {
            busy("busy");
            teFields.press("te_dataset_save");
        } else if (event.key === "PageDown" || (event.key === "ArrowDown" && atAnEnd && !event.shiftKey)) go(1);
        else if (event.key === "PageUp" || (event.key === "ArrowUp" && atAnEnd && !event.shiftKey)) go(-1);
        else return;
        event.preventDefault();
    }

    // ---- tags ------------------------------------------------------------------------------------------------------

    function tagsOf(text) {
        return text
            .split(",")
            .map((tag) => tag.trim())
            .filter((tag) => tag);
    }

    function toggleTag(tag) {
        const caption = document.querySelector(CAPTION);
        if (!caption || !teFields.text("te_dataset_current") || caption.readOnly) return;
        const tags = tagsOf(caption.value);
        teFields.write(caption, (tags.includes(tag) ? tags.filter((one) => one !== tag) : [...tags, tag]).join(", "));
        pressTags();
    }

    function pressTags() {
        const tags = new Set(tagsOf(document.querySelector(CAPTION)?.value || ""));
        for (const button of document.querySelectorAll("#te_dataset_tags [data-tag]")) {
            const on = String(tags.has(button.dataset.tag));
            if (button.getAttribute("aria-pressed") !== on) button.setAttribute("aria-pressed", on);
        }
    }

    document.addEventListener("input", (event) => {
        if (event.target instanceof Element && event.target.matches(CAPTION)) pressTags();
    });

    // ---- uploads ---------------------------------------------------------------------------------------------------

    /** gradio changes names on their way to the server, so they are sent beside the files. */
    document.addEventListener(
        "change",
        (event) => {
            if (!(event.target instanceof Element) || !event.target.matches(UPLOAD)) return;
            teFields.put("te_dataset_uploaded", JSON.stringify(Array.from(event.target.files || [], (file) => file.name)));
            if (event.target.files?.length) busy("uploading");
        },
        true,
    );

    // ---- what a click does -----------------------------------------------------------------------------------------

    let waiting = 0;

    /** Says so if a click takes longer than a moment. */
    function busy(kind) {
        clearTimeout(waiting);
        waiting = setTimeout(
            () => {
                const line = document.querySelector("#te_dataset_hints .te-busy");
                if (!line) return;
                line.textContent = textOf(kind);
                line.hidden = false;
            },
            kind === "uploading" ? 0 : SLOW,
        );
    }

    function idle() {
        clearTimeout(waiting);
        const line = document.querySelector("#te_dataset_hints .te-busy");
        if (line && !line.hidden) line.hidden = true;
    }

    // ---- start -----------------------------------------------------------------------------------------------------

    const observed = new Map();

    function observe(id, react) {
        const element = document.getElementById(id);
        if (!element || observed.get(id) === element) return;
        observed.set(id, element);
        const watched = ["data-serial", "data-image", "data-picture", "role"];
        new MutationObserver(react).observe(element, {childList: true, subtree: true, attributeFilter: watched});
        react();
    }

    function tick() {
        observe("te_dataset_list", takeList);
        observe("te_dataset_pictures", takePictures);
        observe("te_dataset_details", takeDetails);
        observe("te_dataset_status", takeMessage);
        observe("te_dataset_tags", pressTags);
        observe("te_dataset_editor", idle);
        takeList();
        if (shownImage !== teFields.text("te_dataset_current")) takeDetails();
        updateWhenNeeded();
        if ((asked && Date.now() - asked.at > LOST) || (retryAt && Date.now() > retryAt)) askForPictures();
    }

    setInterval(tick, TICK);
})();
