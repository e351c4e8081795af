/*
 * Names that are typed into a list: Enter takes the choice that was typed in full. gradio takes the highlighted one, which is
 * still the old one wherever its name begins with what was typed, such as my-cat-2 for my-cat.
 */
(() => {
    "use strict";

    const LISTS = "#te_train_embedding, #te_train_dataset, #te_dataset_folder";

    /** The field in which an arrow key has highlighted a choice since something was last typed into it. */
    let highlighted = null;

    function choiceOf(field) {
        const choices = field.closest(LISTS)?.querySelectorAll("li[aria-label]") ?? [];
        return Array.from(choices).find((choice) => choice.getAttribute("aria-label") === field.value);
    }

    document.addEventListener("input", (event) => {
        if (event.target === highlighted) highlighted = null;
    });

    document.addEventListener(
        "keydown",
        (event) => {
            const field = event.target;
            if (!(field instanceof HTMLInputElement) || !field.closest(LISTS)) return;
            if (event.key === "ArrowDown" || event.key === "ArrowUp") highlighted = field;
            const choice = event.key === "Enter" && highlighted !== field ? choiceOf(field) : null;
            if (!choice) return;
            event.stopImmediatePropagation();
            event.preventDefault();
            choice.dispatchEvent(new MouseEvent("mousedown", {bubbles: true, cancelable: true})); // gradio's own way to choose
        },
        true,
    );
})();
