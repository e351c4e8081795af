/*
 * The Runs panel in the browser: selecting a run with the pointer and the keyboard, and requesting the list when the history
 * has changed and the panel is open.
 */
(() => {
    "use strict";

    const RUN = "#te_runs_list .te-run[data-run]";
    const TICK = 250;
    const UPDATE_LOST = 5000;

    let selected = "";
    let requested = {version: "", at: 0};

    function runs() {
        return Array.from(document.querySelectorAll(RUN));
    }

    function select(run) {
        selected = run.dataset.run;
        mark();
        teFields.ask("te_runs_selected", "te_runs_select", selected);
    }

    /** Marks the selected run; one run at a time is a stop of the Tab key, and the arrows go on from there. */
    function mark() {
        const all = runs();
        const stop = all.find((run) => run.dataset.run === selected) || all[0];
        for (const run of all) {
            const on = String(run.dataset.run === selected);
            if (run.getAttribute("aria-selected") !== on) run.setAttribute("aria-selected", on);
            const index = run === stop ? 0 : -1;
            if (run.tabIndex !== index) run.tabIndex = index;
        }
    }

    document.addEventListener("click", (event) => {
        const run = event.target instanceof Element ? event.target.closest(RUN) : null;
        if (run) select(run);
    });

    document.addEventListener("keydown", (event) => {
        if (!(event.target instanceof Element) || !event.target.matches(RUN)) return;
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const all = runs();
        const at = all.indexOf(event.target);
        const goals = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1};
        if (event.key === "Enter" || event.key === " ") select(event.target);
        else if (event.key in goals) all[goals[event.key]]?.focus();
        else return;
        event.preventDefault();
    });

    /** After a deletion and its undo, other details are shown than those of the run that was clicked last. */
    function followDetails() {
        const details = document.querySelector("#te_runs_details .te-run-details");
        const field = teFields.find("te_runs_selected");
        if (!details && field && field.value === "") selected = "";
        if (details && field && field.value === details.dataset.run) selected = field.value;
        mark();
    }

    /** The poll tells the version of the history, the list has the one that it shows. */
    function updateWhenChanged() {
        const panel = document.getElementById("te_runs_list");
        const version = teFields.text("te_runs_version");
        if (!panel || panel.offsetParent === null || version === "") return;
        const list = panel.querySelector(".te-runs");
        if (list && list.dataset.version === version) return;
        if (requested.version === version && Date.now() - requested.at < UPDATE_LOST) return;
        requested = {version, at: Date.now()};
        teFields.request("te_runs_update");
    }

    setInterval(() => {
        updateWhenChanged();
        followDetails();
    }, TICK);
})();
