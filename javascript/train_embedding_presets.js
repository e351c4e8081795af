/*
 * Presets in the Train panel: a click on a changed setting resets it, and an exported preset is downloaded.
 */
(() => {
    "use strict";

    let followed = "";

    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest("#te_train_changed button[data-option]") : null;
        if (!button) return;
        button.disabled = true;
        teFields.ask("te_train_reset_option", "te_train_reset", button.dataset.option);
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
