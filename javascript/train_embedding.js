/*
 * Train Embedding in the browser: double click on a card, sending to prompts, polling while training runs, progress in the
 * title and a notification at the end, refreshing the host's cards. The Library panel's own part is in train_embedding_library.js.
 *
 * It serves the WebUI and its relatives, SD.Next, and the standalone app. All it relies on are element ids, `data-name` and, in
 * SD.Next, where that is a path, `data-short`; of the host's own functions and variables it uses, where they exist,
 * `opts.extra_networks_add_text_separator`, `applyExtraNetworkFilter`, `extraNetworksApplySort` and `setupAllResizeHandles`.
 * Cards and tabs are drawn again at any time, so every listener sits on the document.
 */
(() => {
    "use strict";

    const TABS = ["txt2img", "img2img", "control", "video"]; // the last two in SD.Next
    const PAGES = ["textual_inversion", "embedding"]; // of cards: the WebUI's, and SD.Next's
    const CARDS = [
        ...TABS.flatMap((tab) => PAGES.map((page) => ({container: `#${tab}_${page}_cards`, card: ".card[data-name]", tab}))),
        {container: "#te_library_cards", card: ".te-card[data-name], .card[data-name]", tab: null},
    ];
    const INNER_BUTTON = ".button-row, .card-button, button, a[href], [data-short] .actions, [data-short] .tag";
    // In the WebUI, .actions is the lower part of a card with its name; in SD.Next, whose cards have data-short, it is a row of buttons.
    const TICK = 500;
    const POLL_BUSY = 1000;
    const POLL_IDLE = 5000;
    const POLL_LOST = 5000;
    const FAILED = ".toast-body.error"; // gradio's message that a request has failed
    const REFRESH_LOST = 8000;
    const REFRESH_ATTEMPTS = 4;
    const UNCHANGED = /(^|-)0$/; // a version: nothing has changed since the server started

    // ---- prompt boxes ----------------------------------------------------------------------------------------------

    const boxIds = TABS.flatMap((tab) => [`${tab}_prompt`, `${tab}_neg_prompt`]);
    const lastBoxOfTab = {};
    let lastBox = "txt2img_prompt";

    function textOf(id) {
        return document.querySelector(`#${id} textarea, textarea#${id}`);
    }

    function write(id, value) {
        const box = textOf(id);
        if (!box || box.value === value) return;
        box.value = value;
        box.dispatchEvent(new Event("input", {bubbles: true}));
    }

    document.addEventListener("focusin", (event) => {
        const id = boxIds.find((candidate) => event.target === textOf(candidate));
        if (!id) return;
        lastBox = id;
        lastBoxOfTab[id.split("_")[0]] = id;
    });

    // ---- triggers in prompts ---------------------------------------------------------------------------------------

    const WORD = /[\p{L}\p{M}\p{N}_]/u;
    const CONTRACTION = /^['\u2019](?:s|t|re|ve|m|ll|d)(?![\p{L}\p{M}\p{N}_])/u; // a token of its own
    const DELIMITER = /[\s()[\]{}<>:|,"*?\\/;]/u; // white space, and what a name cannot hold

    /** Whether a word goes on in `text`, read outwards from a trigger: at once, or over joints as in "art-deco" and "v1.5". */
    function goesOn(text) {
        for (const character of text) {
            if (WORD.test(character)) return true;
            if (DELIMITER.test(character)) return false;
        }
        return false;
    }

    /**
     * Whether the prompt holds the trigger as a whole word, in any case and also before an "'s", as CLIP's tokens have it; names
     * in <lora:…> and the like are not triggers.
     */
    function holds(prompt, trigger) {
        const text = prompt.replace(/<[^<>]*>/g, (network) => " ".repeat(network.length)).toLowerCase();
        const sought = trigger.toLowerCase(); // both may have another length now, so all below is said of these two
        for (let at = text.indexOf(sought); at >= 0; at = text.indexOf(sought, at + 1)) {
            const before = Array.from(text.slice(0, at)).reverse();
            const after = text.slice(at + sought.length);
            if (!goesOn(before) && (CONTRACTION.test(after) || !goesOn(after))) return true;
        }
        return false;
    }

    function separator() {
        const settings = typeof opts === "object" && opts ? opts : {};
        const chosen = settings.extra_networks_add_text_separator;
        return typeof chosen === "string" && chosen !== "" ? chosen : " ";
    }

    function withTrigger(prompt, trigger) {
        return holds(prompt, trigger) ? prompt : joined(prompt, trigger);
    }

    function joined(prompt, text) {
        return prompt === "" ? text : prompt + separator() + text;
    }

    // ---- double click on a card ------------------------------------------------------------------------------------

    let first = null; // the card of the last first click, and the prompts as they were before it

    function cardAt(event) {
        if (!(event.target instanceof Element)) return null;
        for (const place of CARDS) {
            const element = event.target.closest(place.card);
            if (element?.closest(place.container)) {
                const button = event.target.closest(INNER_BUTTON);
                if (button && button !== element && element.contains(button)) return null;
                const name = nameOf(element);
                return {element, name, tab: place.tab, key: `${place.container} ${name}`};
            }
        }
        return null;
    }

    function nameOf(card) {
        return card.dataset.short || card.dataset.name;
    }

    function remember(card) {
        const values = {};
        for (const id of boxIds) {
            const box = textOf(id);
            if (box && (card.tab === null || id.startsWith(`${card.tab}_`))) values[id] = box.value;
        }
        const target = card.tab === null ? lastBox : lastBoxOfTab[card.tab] || `${card.tab}_prompt`;
        first = {key: card.key, values, target};
    }

    function finish(card) {
        for (const [id, value] of Object.entries(first.values)) {
            write(id, id === first.target ? withTrigger(value, card.name) : value);
        }
    }

    /** The capture phase comes before the host's own handler, which would take the trigger out again at the second click. */
    document.addEventListener(
        "click",
        (event) => {
            const card = cardAt(event);
            if (!card) {
                if (event.isTrusted) first = null; // not when polling presses its button between the two clicks
                return;
            }
            if (event.detail < 2 || first === null || first.key !== card.key) {
                remember(card);
                return;
            }
            event.stopPropagation();
            event.preventDefault();
            finish(card);
        },
        true,
    );

    /** Idempotent after the clicks; alone it serves browsers and scripts whose clicks are not counted. */
    document.addEventListener(
        "dblclick",
        (event) => {
            const card = cardAt(event);
            if (!card) return;
            if (first === null || first.key !== card.key) remember(card);
            event.stopPropagation();
            finish(card);
        },
        true,
    );

    // ---- sending to a prompt ---------------------------------------------------------------------------------------

    /** A button beside an embedding's details writes it into its box, with the texts and the weight that its notes name. */
    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest("#te_library_details .te-send[data-box]") : null;
        if (!button) return;
        const {name, weight, activation, negative} = button.closest(".te-details").dataset;
        const box = button.dataset.box;
        const trigger = Number(weight) && Number(weight) !== 1 ? `(${name}:${weight})` : name;
        if (!holds(promptIn(box), name)) append(box, trigger);
        if (box.endsWith("_neg_prompt")) return;
        for (const [id, words] of [
            [box, activation],
            [box.replace("_prompt", "_neg_prompt"), negative],
        ]) {
            if (words && !promptIn(id).includes(words)) append(id, words);
        }
    });

    function promptIn(id) {
        const box = textOf(id);
        return box ? box.value : "";
    }

    function append(id, text) {
        write(id, joined(promptIn(id), text));
    }

    /** Buttons arrive hidden, so that none shows whose box this page lacks. */
    function showButtonsWithABox() {
        for (const button of document.querySelectorAll("#te_library_details .te-send[data-box]")) {
            button.hidden = textOf(button.dataset.box) === null;
        }
    }

    // ---- polling ---------------------------------------------------------------------------------------------------

    let polledAt = 0;
    let answered = true;

    function pollNow() {
        if (!teFields.press("te_train_poll")) return;
        polledAt = Date.now();
        answered = false;
    }

    /** A poll that fails makes gradio show a message, and the next one a second one. */
    async function pollIfReached() {
        polledAt = Date.now();
        answered = false;
        if (await teFields.reach()) pollNow();
        else answered = true;
    }

    function pollWhenDue() {
        const progress = document.getElementById("te_train_progress");
        if (!progress) return;
        const active = progress.querySelector('.te-progress[data-active="true"]') !== null;
        const tab = document.getElementById("te_panels") || progress; // whichever of its sub-tabs is open
        const visible = !document.hidden && tab.offsetParent !== null;
        if (document.hidden && !active) return;
        const age = Date.now() - polledAt;
        if (!answered && age < POLL_LOST) return;
        if (age < (active || visible ? POLL_BUSY : POLL_IDLE)) return;
        if (teFields.lost() || document.querySelector(FAILED)) pollIfReached();
        else pollNow();
    }

    /** Any change of what the poll writes is its answer; without a change, the next poll comes after POLL_LOST. */
    function watchAnswers() {
        const watcher = new MutationObserver(() => {
            answered = true;
        });
        for (const id of ["te_train_progress", "te_cards_version"]) {
            const element = document.getElementById(id);
            if (element) watcher.observe(element, {childList: true, characterData: true, attributes: true, subtree: true});
        }
    }

    // ---- the title of the page, and the sound and the notification at the end of a run -----------------------------

    const MARK = /^\[(?:\d+%|✓)\] /;
    let followed = ""; // the run that is or was active

    function followRun() {
        const progress = document.querySelector("#te_train_progress .te-progress");
        if (!progress) return;
        if (progress.dataset.active === "true") {
            followed = progress.dataset.run;
            mark(`[${percentOf(progress)}%] `);
        } else if (followed) {
            if (followed === progress.dataset.run) announceEnd(progress);
            mark(document.hidden ? "[✓] " : "");
            followed = "";
        } else if (!document.hidden && document.title.startsWith("[✓] ")) {
            mark("");
        }
    }

    function percentOf(progress) {
        const track = progress.querySelector("[role=progressbar]");
        const [now, most] = ["aria-valuenow", "aria-valuemax"].map((name) => Number(track?.getAttribute(name)));
        return most > 0 ? Math.floor((100 * now) / most) : 0;
    }

    /** Puts a mark in front of the title, in place of an earlier one. */
    function mark(text) {
        const title = text + document.title.replace(MARK, "");
        if (document.title !== title) document.title = title;
    }

    /** Plays the host's notification sound, and shows a notification if the host was allowed to and the page is not in use. */
    function announceEnd(progress) {
        const sound = document.querySelector("#audio_notification audio");
        sound?.play()?.catch(() => {}); // the browser may not allow it
        if (document.hasFocus() || window.Notification?.permission !== "granted") return;
        const [name, text] = ["b", "span"].map((part) => progress.querySelector(`p ${part}`)?.textContent || "");
        new Notification(name, {body: text}).onclick = () => window.focus();
    }

    // ---- the host's cards ------------------------------------------------------------------------------------------

    let cardsVersion = ""; // the one that the host's cards show
    let refreshing = false;

    function cardsOf(tab) {
        return document.querySelector(PAGES.map((page) => `#${tab}_${page}_cards`).join());
    }

    async function refreshWhenChanged() {
        const version = teFields.text("te_cards_version") || cardsVersion;
        if (refreshing || version === cardsVersion || TABS.some((tab) => stillLoading(tab))) return;
        const fresh = cardsVersion === "" && UNCHANGED.test(version);
        cardsVersion = version;
        if (fresh) return;
        refreshing = true;
        try {
            await refreshUntilComplete();
        } finally {
            refreshing = false;
        }
    }

    function stillLoading(tab) {
        const cards = cardsOf(tab);
        return cards !== null && cards.childElementCount === 0 && cards.textContent.trim() === "Loading...";
    }

    /** While the host reads its folder anew, as its own Refresh button has it do, its list of cards may lack some. */
    async function refreshUntilComplete() {
        for (let attempt = 1; attempt <= REFRESH_ATTEMPTS; attempt++) {
            await refresh();
            if (!TABS.some((tab) => cardsAreMissing(tab))) return;
            await pause(attempt * (300 + 700 * Math.random()));
        }
    }

    function cardsAreMissing(tab) {
        const cards = cardsOf(tab);
        if (cards === null) return false;
        const there = new Set(Array.from(cards.querySelectorAll(".card[data-name]"), nameOf));
        const loaded = document.querySelectorAll("#te_library_cards .te-card[data-name]:not(.te-left-out)");
        return Array.from(loaded).some((card) => !there.has(card.dataset.name));
    }

    /**
     * Has the host draw its cards of embeddings anew, and no others: its own Refresh button runs every page's refresh, and
     * that of the checkpoints puts the one from its command line in place of the one that was chosen.
     */
    async function refresh() {
        const panes = TABS.map((tab) => ({tab, looks: looksOf(tab)}));
        const drawn = teFields.text("te_host_cards_drawn");
        if (!teFields.press("te_host_cards")) return;
        const start = Date.now();
        while (teFields.text("te_host_cards_drawn") === drawn && Date.now() - start < REFRESH_LOST) await pause(50);
        await pause(20);
        for (const {tab} of panes) sortAndFilter(tab);
        if (typeof setupAllResizeHandles === "function") setupAllResizeHandles();
        await pause(20); // the host's filter works a moment later
        for (const {tab, looks} of panes) restoreLooks(tab, looks);
    }

    /** New cards come in the host's order, unfiltered. A page that is not shown is filtered by the host when it is opened. */
    function sortAndFilter(tab) {
        searchAgain(tab);
        const id = `${tab}_textual_inversion`;
        const page = document.getElementById(id);
        if (!page) return;
        if (page.style.display !== "none" && typeof applyExtraNetworkFilter === "function") {
            applyExtraNetworkFilter(id);
        } else if (typeof extraNetworksApplySort === "object" && extraNetworksApplySort[id]) {
            extraNetworksApplySort[id](true);
        }
    }

    /** SD.Next hides cards when something is typed into its search box. */
    function searchAgain(tab) {
        const box = document.getElementById(`${tab}_embedding_cards`) && textOf(`${tab}_extra_search`);
        if (box?.value) box.dispatchEvent(new Event("input", {bubbles: true}));
    }

    /** What a person has changed about the pane of cards, which is drawn anew with them: its tree of folders, and the scrolling. */
    function looksOf(tab) {
        const pane = document.getElementById(`${tab}_textual_inversion_pane`);
        return {
            pane: pane ? pane.className : null,
            open: foldersOf(tab)
                .filter((folder) => "expanded" in folder.dataset)
                .map((folder) => folder.dataset.path),
            chosen: foldersOf(tab)
                .filter((folder) => "selected" in folder.dataset)
                .map((folder) => folder.dataset.path),
            scrolled: Array.from(document.querySelectorAll(`#${tab}_extra_tabs [id]`))
                .filter((element) => element.scrollTop > 0)
                .map((element) => [element.id, element.scrollTop]),
        };
    }

    function foldersOf(tab) {
        return Array.from(document.querySelectorAll(`#${tab}_textual_inversion_tree .tree-list-content-dir[data-path]`));
    }

    function restoreLooks(tab, looks) {
        const pane = document.getElementById(`${tab}_textual_inversion_pane`);
        if (pane && looks.pane !== null) pane.className = looks.pane;
        for (const folder of foldersOf(tab)) {
            const list = folder.nextElementSibling;
            const isOpen = "expanded" in folder.dataset;
            if (list && looks.open.includes(folder.dataset.path) !== isOpen) {
                list.toggleAttribute("hidden");
                folder.toggleAttribute("data-expanded");
            }
            folder.toggleAttribute("data-selected", looks.chosen.includes(folder.dataset.path));
        }
        for (const [id, top] of looks.scrolled) {
            const element = document.getElementById(id);
            if (element) element.scrollTop = top;
        }
    }

    function pause(milliseconds) {
        return new Promise((resolve) => setTimeout(resolve, milliseconds));
    }

    // ---- start -----------------------------------------------------------------------------------------------------

    let ready = false;

    function tick() {
        if (!ready) {
            if (!document.getElementById("te_train_poll")) return;
            ready = true;
            watchAnswers();
            pollNow();
        }
        pollWhenDue();
        followRun();
        refreshWhenChanged();
        showButtonsWithABox();
    }

    setInterval(tick, TICK);
})();
