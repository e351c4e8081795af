/*
 * The sub-tab Train in the browser: the names of uploaded images, the strip of images while they are examined,
 * buttons that show that they were clicked, and the progress of the run in the third step.
 */
(() => {
    "use strict";

    const UPLOAD = "#te_train_upload input[type=file]";
    const TICK = 250;
    const AGAIN = 700; // milliseconds between two requests while images are examined
    const LOST = 8000;
    /** Buttons, and where their answers appear. */
    const ANSWERS = {
        te_create_button: ["te_create_status"],
        te_train_button: ["te_train_status", "te_train_progress"],
        te_train_stop: ["te_train_status", "te_train_progress"],
        te_train_resume: ["te_train_status", "te_train_progress"],
        te_train_check: ["te_train_images_status", "te_dataset_list"],
        te_train_add: ["te_train_images_status"],
    };

    // ---- uploads ----------------------------------------------------------------------------------------------------------

    /** gradio changes names on their way to the server, so they are sent beside the files. */
    document.addEventListener(
        "change",
        (event) => {
            if (!(event.target instanceof Element) || !event.target.matches(UPLOAD)) return;
            teFields.put("te_train_uploaded", JSON.stringify(Array.from(event.target.files || [], (file) => file.name)));
            if (event.target.files?.length) busy("te_train_add", document.querySelector("#te_train_upload"));
        },
        true,
    );

    // ---- the strip of images -------------------------------------------------------------------------------------------

    let asked = {serial: "", at: 0};

    function askAgain() {
        const strip = document.querySelector('#te_train_dataset_check .te-strip[data-pending="true"]');
        if (!strip || strip.offsetParent === null || document.hidden) return;
        const serial = strip.dataset.serial;
        const age = Date.now() - asked.at;
        if (age < AGAIN || (asked.serial === serial && age < LOST)) return;
        asked = {serial, at: Date.now()};
        teFields.request("te_train_images_again");
    }

    // ---- what a click does ---------------------------------------------------------------------------------------------

    const waiting = new Map(); // by button: its element, what was said at the click, and when that was

    function said(id) {
        return ANSWERS[id].map((place) => document.getElementById(place)?.textContent || "").join(" ");
    }

    function busy(id, element) {
        if (!element) return;
        waiting.set(id, {element, said: said(id), at: Date.now()});
        element.classList.add("te-busy");
        element.setAttribute("aria-busy", "true");
    }

    document.addEventListener(
        "click",
        (event) => {
            const button = event.target instanceof Element ? event.target.closest("button") : null;
            if (button && button.id in ANSWERS && button.id !== "te_train_add") busy(button.id, button);
        },
        true,
    );

    function showAnswers() {
        for (const [id, click] of waiting) {
            if (click.said === said(id) && Date.now() - click.at < LOST) continue;
            click.element.classList.remove("te-busy");
            click.element.removeAttribute("aria-busy");
            waiting.delete(id);
        }
    }

    /** The progress is beside the steps and may be out of view, so the step with the buttons has it too. */
    function showProgress() {
        const place = document.querySelector("#te_step_training_state .te-live");
        const progress = document.querySelector('#te_train_progress .te-progress[data-active="true"] p span');
        const text = progress?.textContent || "";
        if (place && place.textContent !== text) place.textContent = text;
    }

    setInterval(() => {
        showProgress();
        askAgain();
        showAnswers();
    }, TICK);
})();
