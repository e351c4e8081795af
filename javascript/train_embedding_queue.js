/*
 * The training queue in the browser: the buttons of its rows, its progress, and requesting the list when the queue has changed and
 * the panel is open.
 */
(() => {
    "use strict";

    const ACT = "#te_queue_list .te-queued button[data-act]";
    const TICK = 250;
    const UPDATE_LOST = 5000;

    let requested = {version: "", at: 0};
    let adding = null; // what the sub-tab Train said when "Add to queue" was clicked
    let focused = null; // the button of a row that was used last, which is drawn again with the list

    function said() {
        return ["te_train_status", "te_train_queue"].map((id) => document.getElementById(id)?.textContent).join(" ");
    }

    /** The check of a dataset may take a moment, so the button shows that it was clicked. */
    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest("#te_train_enqueue") : null;
        if (!button) return;
        adding = {said: said(), at: Date.now(), button};
        button.classList.add("te-busy");
    });

    function showAnswer() {
        if (!adding || (adding.said === said() && Date.now() - adding.at < UPDATE_LOST)) return;
        adding.button.classList.remove("te-busy");
        adding = null;
    }

    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest(ACT) : null;
        if (!button || button.disabled) return;
        const row = button.closest(".te-queued");
        if (row.classList.contains("te-busy")) return;
        row.classList.add("te-busy"); // until the list is drawn again
        setTimeout(() => row.classList.remove("te-busy"), UPDATE_LOST);
        focused = {entry: row.dataset.entry, act: button.dataset.act};
        teFields.ask("te_queue_order", "te_queue_carry_out", `${button.dataset.act} ${row.dataset.entry}`);
    });

    /** The focus stays with the training that was moved; at an end of the queue, on its other arrow. */
    function keepFocus() {
        if (!focused || document.querySelector("#te_queue_list .te-busy")) return;
        const {entry, act} = focused;
        focused = null;
        if (document.activeElement && document.activeElement !== document.body) return;
        const row = document.querySelector(`#te_queue_list .te-queued[data-entry="${entry}"]`);
        const buttons = row ? Array.from(row.querySelectorAll("button:not([disabled])")) : [];
        (buttons.find((button) => button.dataset.act === act) || buttons[0])?.focus();
    }

    /** The progress of the present training is that of the run that the Train panel shows. */
    function showProgress() {
        const progress = document.querySelector("#te_train_progress .te-progress");
        for (const line of document.querySelectorAll("#te_queue_list .te-queue-progress")) {
            const run = line.closest(".te-queued").dataset.run;
            const text =
                progress && run && progress.dataset.run === run ? progress.querySelector("p span")?.textContent || "" : "";
            if (line.textContent !== text) line.textContent = text;
        }
    }

    /** The poll tells the version of the queue, the list has the one that it shows. */
    function updateWhenChanged() {
        const panel = document.getElementById("te_queue_list");
        const version = teFields.text("te_queue_version");
        const shown = document.getElementById("te_queue");
        if (!panel || !shown || shown.offsetParent === null || version === "") return;
        const list = panel.querySelector(".te-queue");
        if (list && list.dataset.version === version) return;
        if (requested.version === version && Date.now() - requested.at < UPDATE_LOST) return;
        requested = {version, at: Date.now()};
        teFields.request("te_queue_update");
    }

    setInterval(() => {
        updateWhenChanged();
        showProgress();
        keepFocus();
        showAnswer();
    }, TICK);
})();
