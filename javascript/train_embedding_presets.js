/*
 * Presets in the Train panel: a click on a changed setting resets it, and an exported preset is downloaded.
 */
(() => {
    "use strict";

    let followed = "";

    function put(id, value) {
        const field = document.querySelector(`#${id} textarea, #${id} input`);
        if (!field) return;
        field.value = value;
        field.dispatchEvent(new Event("input", {bubbles: true}));
    }

    function press(id) {
        const element = document.getElementById(id);
        if (element) (element.matches("button") ? element : element.querySelector("button") || element).click();
    }

    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest("#te_train_changed button[data-option]") : null;
        if (!button) return;
        button.disabled = true;
        put("te_train_reset_option", button.dataset.option);
        setTimeout(() => press("te_train_reset"), 50); // gradio takes the value over a moment later
    });

    /** An export's answer is a link that holds the file. */
    function followDownload() {
        const link = document.querySelector("#te_presets_exported a.te-download");
        if (!link || link.dataset.serial === followed) return;
        followed = link.dataset.serial;
        link.click();
    }

    new MutationObserver(followDownload).observe(document, {
        subtree: true,
        childList: true,
        attributes: true,
        attributeFilter: ["data-serial"],
    });
})();
