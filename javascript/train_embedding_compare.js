/*
 * Comparisons of steps and of embeddings in the browser: enlarging an image, using a step, updating the grid while images are drawn, and
 * opening the comparison of a run from the Train panel.
 */
(() => {
    "use strict";

    const GRID = "#te_compare_grid .te-comparison";
    const BUTTONS = [
        "#te_runs_compare, #te_compare_draw, #te_compare_stop, #te_compare_undo, #te_train_compare",
        "#te_library_together, #te_together_draw, #te_together_stop",
    ].join();
    const TICK = 1000;
    const LOST = 8000;
    const PATIENCE = 15000;
    const ARROWS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

    let shown = null;

    // ---- the enlarged image ----------------------------------------------------------------------------------------

    function dialog() {
        const existing = document.getElementById("te_compare_large");
        if (existing) return existing;
        const made = document.createElement("dialog");
        made.id = "te_compare_large";
        made.append(document.createElement("img"), document.createElement("p"));
        made.addEventListener("click", () => made.close());
        made.addEventListener("keydown", (event) => {
            if (!(event.key in ARROWS)) return;
            event.preventDefault();
            move(...ARROWS[event.key]);
        });
        document.body.append(made);
        return made;
    }

    /** The place of a cell in the grid, which may have been drawn again since. */
    function placeOf(cell) {
        return [cell.closest("[id$=_grid]").id, cell.closest("tr").rowIndex, cell.closest("td").cellIndex];
    }

    function cellAt(grid, row, column) {
        const table = document.querySelector(`#${grid} .te-compare-table`);
        return table?.rows[row]?.cells[column]?.querySelector("button.te-cell") || null;
    }

    function enlarge(cell) {
        shown = placeOf(cell);
        const box = dialog();
        const small = cell.querySelector("img");
        const [large, caption] = box.children;
        large.src = cell.dataset.large;
        large.alt = caption.textContent = small ? small.alt : "";
        if (!box.open) box.showModal();
    }

    /** Shows the next image in a direction that has been drawn. */
    function move(down, right) {
        let [grid, row, column] = shown;
        for (let tried = 0; tried < 60; tried++) {
            row += down;
            column += right;
            const cell = cellAt(grid, row, column);
            if (cell) {
                enlarge(cell);
                return;
            }
        }
    }

    document.addEventListener("click", (event) => {
        if (!(event.target instanceof Element)) return;
        const cell = event.target.closest(".te-comparison button.te-cell");
        const use = event.target.closest("#te_compare_grid .te-use-step");
        if (cell) enlarge(cell);
        if (use) {
            use.disabled = true; // until the answer draws the grid again
            setTimeout(() => (use.disabled = false), LOST);
            teFields.ask("te_compare_step", "te_compare_use", use.dataset.step);
        }
        if (event.target.closest("#te_train_compare")) openRun(document.querySelector("#te_train_progress .te-progress"));
        if (event.target.closest("#te_library_compare")) openRun(document.querySelector("#te_library_details .te-details"));
        const button = event.target.closest(BUTTONS);
        if (button) showWaiting(button);
    });

    /** Marks a button until its answer changes the page. */
    function showWaiting(button) {
        const parts = ["te_compare_grid", "te_compare_status", "te_runs_status", "te_together_grid", "te_together_status"];
        const look = () => parts.map((id) => document.getElementById(id)?.textContent || "").join("|");
        const before = look();
        const end = Date.now() + LOST;
        button.classList.add("te-waiting");
        const timer = setInterval(() => {
            if (look() === before && Date.now() < end) return;
            clearInterval(timer);
            button.classList.remove("te-waiting");
        }, 100);
    }

    // ---- the comparison of the run that the Train panel shows, and of an embedding ---------------------------------

    async function found(find) {
        const end = Date.now() + PATIENCE;
        while (Date.now() < end) {
            const result = find();
            if (result) return result;
            await new Promise((resolve) => setTimeout(resolve, 100));
        }
        return null;
    }

    /** Opens the run that an element names in the sub-tab Runs, with its comparison. */
    async function openRun(element) {
        const run = element?.dataset.run;
        const tab = await found(subTab);
        if (!run || !tab) return;
        tab.click();
        const card = await found(() => document.querySelector(`#te_runs_list .te-run[data-run="${CSS.escape(run)}"]`));
        card?.click();
        if (!card || !(await found(() => document.querySelector(`#te_runs_details [data-run="${CSS.escape(run)}"]`)))) return;
        teFields.press("te_runs_compare");
        const grid = await found(() => document.querySelector(`${GRID}[data-run="${CSS.escape(run)}"]`));
        grid?.closest("#te_compare")?.scrollIntoView({block: "start"});
    }

    /** The button of the sub-tab Runs: gradio 6 names it after its id, gradio 3 has the buttons in the order of the sub-tabs. */
    function subTab() {
        const panels = Array.from(document.querySelectorAll("#te_tabs .tabitem, #te_tabs [role=tabpanel]"));
        const named = document.querySelector("#te_tabs button#te_tab_runs-button[role=tab]");
        if (named) return named;
        const buttons = Array.from(document.querySelectorAll("#te_tabs > .tab-nav button, #te_tabs [role=tablist] [role=tab]"));
        return buttons[panels.findIndex((panel) => panel.id === "te_tab_runs")] || null;
    }

    // ---- the comparison of embeddings ------------------------------------------------------------------------------

    document.addEventListener("click", (event) => {
        if (!(event.target instanceof Element)) return;
        if (event.target.closest("#te_together .label-wrap")) teFields.press("te_together_update");
        if (event.target.closest("#te_library_together")) openTogether();
    });

    /** Fills the panel, which the server opens, and shows it. */
    async function openTogether() {
        const panel = await found(() => {
            const draw = document.getElementById("te_together_draw");
            return draw && draw.offsetParent !== null ? document.getElementById("te_together") : null;
        });
        panel?.scrollIntoView({block: "start"});
    }

    setInterval(() => {
        for (const grid of document.querySelectorAll('.te-comparison[data-active="true"]')) {
            if (grid.offsetParent === null) continue;
            if (grid.dataset.asked && Date.now() - Number(grid.dataset.asked) < LOST) continue;
            grid.dataset.asked = String(Date.now()); // the answer replaces the element
            teFields.request(grid.dataset.update);
        }
    }, TICK);
})();
