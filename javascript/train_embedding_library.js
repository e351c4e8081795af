/*
 * The Library panel in the browser: searching, filtering and sorting its cards, pictures for those in view, the keyboard,
 * the names of uploaded files, and messages brought into view. Data from names and files only ever becomes text, an option's value
 * or a picture's address.
 */
(() => {
    "use strict";

    const LIST = "#te_library_cards .te-cards";
    const CARD = "#te_library_cards .te-card[data-key]";
    const CONTROLS = ["te_library_search", "te_library_family", "te_library_state", "te_library_folder", "te_library_sort"];
    const TICK = 250;
    const SETTLE = 60; // milliseconds of rest before pictures are asked for
    const BATCH = 60;
    const LOST = 15000;
    const SELDOM = 1000; // milliseconds between requests while the list is being scrolled
    const HEIGHT = 66; // pixels of a card, as in style.css
    const ALL = 200; // as many cards are simply there; of more, those around the view
    const UPDATE_LOST = 5000;
    const AROUND = 12; // rows above and below the view
    const SPARE = 4; // rows of these that must be left before others take their place

    // ---- fields of the page ----------------------------------------------------------------------------------------

    function fieldValue(id) {
        const control = document.getElementById(id);
        return control ? control.value : "";
    }

    // ---- the cards that are there ----------------------------------------------------------------------------------

    let list = null;
    let version = "";
    let cards = []; // {element, text, place}, in the chosen order
    let shown = []; // those that pass the search
    let order = "name";
    let scrolled = 0;

    function adopt(found) {
        list = found;
        if (serverOf(found.dataset.version) !== serverOf(version)) forgetBlanks();
        version = found.dataset.version;
        requestedAt = 0;
        cards = Array.from(list.querySelectorAll(".te-card[data-key]"), (element, place) => ({
            element,
            place,
            text: folded(`${element.textContent} ${element.dataset.folder}`),
        }));
        order = "name";
        displayed = new Set(cards.map((card) => card.element));
        offer(
            "te_library_family",
            cards.map((card) => card.element.dataset.family),
        );
        offer(
            "te_library_folder",
            cards.flatMap((card) => foldersOf(card.element.dataset.folder)),
        );
        putKnownPictures();
        markSelected();
        measure();
        arrange();
        list.scrollTop = scrolled;
        resized.disconnect();
        resized.observe(list);
    }

    function folded(text) {
        return text.normalize("NFKC").toLowerCase();
    }

    /** "a/b" lies in "a" too. */
    function foldersOf(folder) {
        const parts = folder ? folder.split("/") : [];
        return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
    }

    /** Fills a choice with the values that there are; the one chosen stays, where it still is. */
    function offer(id, values) {
        const control = document.getElementById(id);
        if (!control) return;
        const chosen = control.value;
        const known = Array.from(new Set(values.filter((value) => value))).sort((a, b) => a.localeCompare(b));
        control.replaceChildren(control.options[0], ...known.map((value) => new Option(indented(id, value), value)));
        control.value = known.includes(chosen) ? chosen : "";
    }

    function indented(id, value) {
        const parts = id === "te_library_folder" ? value.split("/") : [value];
        return "\u2003".repeat(parts.length - 1) + parts[parts.length - 1];
    }

    // ---- asking for the cards --------------------------------------------------------------------------------------

    let requestedAt = 0;
    let requested = ""; // version

    /** A version is "server-number"; another server's numbers begin anew. */
    function serverOf(told) {
        return told.split("-")[0];
    }

    function isNews(told, known) {
        const numbers = [told, known].map((text) => Number(text.split("-")[1]));
        return serverOf(told) !== serverOf(known) || numbers[0] > numbers[1];
    }

    /** What was requested also changes the choice of embeddings on another sub-tab, so it is not put off until this one is there. */
    function knownVersion() {
        if (!document.getElementById("te_library_cards")) return requested;
        return list?.isConnected ? version : "";
    }

    /** When a page opens, and when the poll has told of a later version than the one that is shown, or of another server's. */
    function updateWhenChanged() {
        const told = teFields.text("te_cards_version");
        if (told === "") return; // the first poll's values come before
        if (!isNews(told, knownVersion()) || Date.now() - requestedAt < UPDATE_LOST) return;
        requestedAt = Date.now();
        requested = told;
        teFields.request("te_library_update");
    }

    // ---- searching, filtering, sorting -----------------------------------------------------------------------------

    const ORDERS = {
        name: (a, b) => a.place - b.place,
        date: falling("date"),
        steps: falling("steps"),
        vectors: falling("vectors"),
        size: falling("size"),
    };

    function falling(field) {
        return (a, b) => Number(b.element.dataset[field]) - Number(a.element.dataset[field]) || a.place - b.place;
    }

    function arrange() {
        if (!list) return;
        sort(fieldValue("te_library_sort") || "name");
        filter();
    }

    function sort(wanted) {
        if (wanted === order || !(wanted in ORDERS)) return;
        order = wanted;
        cards.sort(ORDERS[wanted]);
        list.append(...cards.map((card) => card.element));
    }

    function filter() {
        const words = folded(fieldValue("te_library_search"))
            .split(/\s+/)
            .filter((word) => word);
        const family = fieldValue("te_library_family");
        const folder = fieldValue("te_library_folder");
        const state = fieldValue("te_library_state");
        shown = cards.filter(
            ({element, text}) =>
                (!family || element.dataset.family === family) &&
                isIn(element.dataset.folder, folder) &&
                isInState(element, state) &&
                words.every((word) => text.includes(word)),
        );
        tell();
        display(true);
        askSoon();
    }

    function isIn(folder, wanted) {
        return !wanted || folder === wanted || folder.startsWith(`${wanted}/`);
    }

    function isInState(element, state) {
        if (state === "loaded") return !element.classList.contains("te-left-out");
        return !state || element.classList.contains(`te-${state}`);
    }

    function tell() {
        const place = document.getElementById("te_library_count");
        const text = shown.length === cards.length ? `${cards.length}` : `${shown.length} / ${cards.length}`;
        if (place && place.textContent !== text) place.textContent = text;
        const nothing = document.querySelector("#te_library_cards .te-nothing");
        if (nothing) nothing.hidden = shown.length > 0 || cards.length === 0;
    }

    document.addEventListener("input", (event) => {
        if (CONTROLS.includes(event.target.id)) arrange();
    });

    // ---- the cards around the view ---------------------------------------------------------------------------------

    /*
     * All cards have one height, so which of them are in view follows from where the list is scrolled to. The others are not
     * displayed, with room kept for them: then neither a frame of scrolling nor a keystroke costs more with thousands of them.
     */
    let displayed = new Set();
    let range = {from: 0, to: 0}; // rows
    let columns = 1;
    let pitch = HEIGHT;

    function measure() {
        const style = getComputedStyle(list);
        columns = Math.max(1, style.gridTemplateColumns.split(" ").length);
        pitch = HEIGHT + (parseFloat(style.rowGap) || 0);
    }

    /** The first row in view, and the one after the last. */
    function rowsInView() {
        return {from: Math.floor(list.scrollTop / pitch), to: Math.ceil((list.scrollTop + list.clientHeight) / pitch)};
    }

    function display(anew) {
        const rows = Math.ceil(shown.length / columns);
        const view = rowsInView();
        const spare = (view.from >= range.from + SPARE || range.from === 0) && (view.to <= range.to - SPARE || range.to === rows);
        if (!anew && spare) return;
        const all = shown.length <= ALL;
        const start = Math.min(view.from, Math.max(0, rows - (view.to - view.from)));
        range = all ? {from: 0, to: rows} : {from: Math.max(0, start - AROUND), to: Math.min(rows, view.to + AROUND)};
        const next = new Set(shown.slice(range.from * columns, range.to * columns).map((card) => card.element));
        for (const element of displayed) if (!next.has(element)) element.classList.add("te-away");
        for (const element of next) if (!displayed.has(element)) element.classList.remove("te-away");
        displayed = next;
        numberForScreenReaders();
        keepRoom("above", range.from);
        keepRoom("below", rows - range.to);
        makeReachable();
    }

    /** Screen readers say "3 of 2000"; by themselves they would count the displayed cards alone. */
    function numberForScreenReaders() {
        const from = range.from * columns;
        shown.slice(from, range.to * columns).forEach(({element}, index) => {
            element.setAttribute("aria-posinset", from + index + 1);
            element.setAttribute("aria-setsize", shown.length);
        });
    }

    function keepRoom(side, rows) {
        list.classList.toggle(`te-${side}`, rows > 0);
        list.style.setProperty(`--te-${side}`, `${rows * pitch}px`);
    }

    const resized = new ResizeObserver(() => {
        measure();
        display(true);
        askSoon();
    });

    document.addEventListener(
        "scroll",
        (event) => {
            if (event.target !== list) return;
            scrolled = list.scrollTop;
            display(false);
            askSoon();
        },
        true,
    );

    // ---- selecting, with the pointer and the keyboard --------------------------------------------------------------

    let selected = "";

    function select(element) {
        selected = element.dataset.key;
        markSelected();
        teFields.ask("te_library_selected", "te_library_select", selected);
    }

    function markSelected() {
        for (const {element} of cards) {
            const on = element.dataset.key === selected;
            if (on !== (element.getAttribute("aria-selected") === "true")) element.setAttribute("aria-selected", String(on));
        }
        makeReachable();
    }

    /** One card at a time is a stop of the Tab key; the arrows go on from there. */
    function makeReachable() {
        const reachable = shown.filter((card) => displayed.has(card.element));
        const stop = reachable.find((card) => card.element.dataset.key === selected) || reachable[0];
        if (list) for (const element of list.querySelectorAll(".te-card[tabindex='0']")) element.tabIndex = -1;
        if (stop) stop.element.tabIndex = 0;
    }

    document.addEventListener(
        "click",
        (event) => {
            const card = event.target instanceof Element ? event.target.closest(CARD) : null;
            if (!card || event.target.closest("button, a[href]")) return;
            if (event.detail < 2 || card.dataset.key !== selected) select(card);
        },
        true,
    );

    document.addEventListener("keydown", (event) => {
        if (!(event.target instanceof Element) || !event.target.matches(CARD) || event.ctrlKey || event.metaKey || event.altKey)
            return;
        const at = shown.findIndex((card) => card.element === event.target);
        const goals = {
            ArrowRight: at + 1,
            ArrowLeft: at - 1,
            ArrowDown: at + columns,
            ArrowUp: at - columns,
            Home: 0,
            End: shown.length - 1,
        };
        if (event.key === "Enter" || event.key === " ") select(event.target);
        else if (event.key in goals) focusOn(goals[event.key]);
        else return;
        event.preventDefault();
    });

    function focusOn(index) {
        if (index < 0 || index >= shown.length) return;
        const top = Math.floor(index / columns) * pitch;
        list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + pitch - list.clientHeight));
        display(false);
        shown[index].element.focus({preventScroll: true});
    }

    /** After a rename or a copy the details are those of another card than the one that was clicked. */
    function followDetails() {
        const details = document.querySelector("#te_library_details .te-details");
        const key = details ? details.dataset.key : "";
        if (key === selected || (!details && selected === "")) return;
        selected = key;
        markSelected();
    }

    // ---- pictures of the cards in view -----------------------------------------------------------------------------

    const known = new Map(); // key and state of the file: address, "" where it cannot be shown
    let timer = 0;
    let serial = 0;
    let asked = null; // {serial, cards, at}

    function stateOf(card) {
        return `${card.dataset.picture} ${card.dataset.key}`;
    }

    function putKnownPictures() {
        for (const {element} of cards) show(element, known.get(stateOf(element)) || "");
    }

    /** A server that has only just started knew no card yet, and had no picture of any. */
    function forgetBlanks() {
        for (const [state, address] of known) if (!address) known.delete(state);
    }

    let askedAt = 0;

    function askSoon() {
        clearTimeout(timer);
        timer = setTimeout(askForPictures, Date.now() - askedAt > SELDOM ? 0 : SETTLE);
    }

    /** For the cards in view, and then for those around it. */
    function askForPictures() {
        if (!list || list.clientHeight === 0 || (asked && Date.now() - asked.at < LOST)) return;
        const view = rowsInView();
        const parts = [
            [view.from, view.to],
            [view.to, view.to + AROUND],
            [view.from - AROUND, view.from],
        ];
        const wanted = parts
            .flatMap(([from, to]) => shown.slice(Math.max(0, from) * columns, Math.max(0, to) * columns))
            .map((card) => card.element)
            .filter((element) => element.dataset.picture && !known.has(stateOf(element)))
            .slice(0, BATCH);
        if (wanted.length === 0) return;
        askedAt = Date.now();
        asked = {serial: ++serial, cards: wanted, at: Date.now()};
        const keys = wanted.map((element) => element.dataset.key);
        teFields.ask("te_library_wanted", "te_library_draw", JSON.stringify({serial, keys}));
    }

    function takePictures() {
        const answer = document.querySelector("#te_library_pictures [data-serial]");
        if (!answer || !asked || answer.dataset.serial !== String(asked.serial)) return;
        const pictures = JSON.parse(answer.dataset.pictures);
        for (const element of asked.cards) {
            known.set(stateOf(element), pictures[element.dataset.key] || "");
            if (element.isConnected) show(element, known.get(stateOf(element)));
        }
        if (asked.cards.some((element) => !element.isConnected)) putKnownPictures();
        asked = null;
        askSoon();
    }

    function show(card, address) {
        const blank = card.querySelector(".te-blank");
        if (!blank || !address.startsWith("data:image/jpeg;base64,")) return;
        const picture = new Image();
        picture.alt = "";
        picture.decoding = "async";
        picture.src = address;
        blank.replaceWith(picture);
    }

    // ---- uploads ---------------------------------------------------------------------------------------------------

    const UPLOAD = "#te_library_upload input[type=file]";

    /** gradio changes names on their way to the server, so they are sent beside the files. */
    document.addEventListener(
        "change",
        (event) => {
            if (!(event.target instanceof Element) || !event.target.matches(UPLOAD)) return;
            const names = Array.from(event.target.files || [], (file) => file.name);
            const overwrite = document.getElementById("te_library_overwrite");
            const told = {names, folder: fieldValue("te_library_folder"), overwrite: overwrite?.checked === true};
            teFields.put("te_library_uploaded", JSON.stringify(told));
            if (overwrite) overwrite.checked = false;
        },
        true,
    );

    // ---- what became of a click ------------------------------------------------------------------------------------

    let said = "";

    /** The message stands below the cards, often far from the button that was clicked. */
    function bringMessageIntoView() {
        const message = document.querySelector("#te_library_status .te-message");
        const text = message ? message.textContent : "";
        if (text === said) return;
        said = text;
        if (!message || message.offsetParent === null) return;
        const {top, bottom} = message.getBoundingClientRect();
        if (top < 0 || bottom > window.innerHeight) message.scrollIntoView({block: "center"});
    }

    document.addEventListener(
        "click",
        (event) => {
            if (event.target instanceof Element && event.target.closest("#te_library button")) said = "";
        },
        true,
    );

    // ---- exported files --------------------------------------------------------------------------------------------

    let followed = "";

    /** An export's answer is a link that holds the file. */
    function followDownload() {
        const link = document.querySelector("#te_library_exported a.te-download");
        if (!link || link.dataset.serial === followed) return;
        followed = link.dataset.serial;
        link.click();
    }

    // ---- names to complete -----------------------------------------------------------------------------------------

    document.addEventListener("focusin", (event) => {
        const names = document.getElementById("te_library_names");
        if (!names || !(event.target instanceof Element) || !event.target.matches(".te-name input")) return;
        event.target.setAttribute("list", names.id);
        if (names.childElementCount) return;
        const loaded = cards.map(({element}) => element).filter((element) => !element.classList.contains("te-left-out"));
        names.append(...loaded.map((element) => new Option("", element.dataset.name)));
    });

    // ---- start -----------------------------------------------------------------------------------------------------

    const observed = new Map();

    /** gradio 6 patches its HTML in place, so an answer may be nothing but other values of attributes. */
    function observe(id, attribute, react) {
        const element = document.getElementById(id);
        if (!element || observed.get(id) === element) return;
        observed.set(id, element);
        new MutationObserver(react).observe(element, {childList: true, subtree: true, attributeFilter: [attribute]});
        react();
    }

    function lookForCards() {
        const found = document.querySelector(LIST);
        if (found && (found !== list || found.dataset.version !== version)) adopt(found);
    }

    function tick() {
        observe("te_library_cards", "data-version", lookForCards);
        observe("te_library_pictures", "data-serial", takePictures);
        observe("te_library_details", "data-key", followDetails);
        observe("te_library_exported", "data-serial", followDownload);
        observe("te_library_status", "role", bringMessageIntoView);
        lookForCards();
        updateWhenChanged();
        if (asked && Date.now() - asked.at > LOST) askForPictures();
    }

    setInterval(tick, TICK);
})();
