/*
 * Files that are dropped on the tab: each area hands them to its own upload button, as if they had been chosen there.
 */
(() => {
    "use strict";

    /** Areas, and the upload buttons that get the files dropped on them. */
    const AREAS = [
        ["#te_step_images", "#te_train_upload"],
        ["#te_dataset", "#te_dataset_upload"],
        ["#te_library", "#te_library_upload"],
    ];

    function areaUnder(event) {
        const files = event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
        if (!files || !(event.target instanceof Element)) return [null, null];
        for (const [area, upload] of AREAS) {
            const element = event.target.closest(area);
            if (element) return [element, document.querySelector(`${upload} input[type=file]`)];
        }
        return [null, null];
    }

    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
        document.addEventListener(
            kind,
            (event) => {
                const [area, input] = areaUnder(event);
                if (!area) return;
                event.preventDefault();
                const leaves = kind === "drop" || (kind === "dragleave" && !area.contains(event.relatedTarget));
                area.classList.toggle("te-drop", !leaves);
                if (kind !== "drop" || !input) return;
                event.stopPropagation();
                input.files = event.dataTransfer.files;
                input.dispatchEvent(new Event("change", {bubbles: true}));
            },
            true,
        );
    }
})();
