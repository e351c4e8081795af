/*
 * gradio's fields and buttons, for the other scripts. They call these functions only once the page is there, so the order in
 * which a host loads the scripts does not matter.
 */
window.teFields = (() => {
    "use strict";

    /** Milliseconds after which gradio has taken over what was written into a field. */
    const TAKEN_OVER = 50;

    function find(id) {
        return document.querySelector(`#${id} textarea, #${id} input`);
    }

    function text(id) {
        return find(id)?.value ?? "";
    }

    function write(field, value) {
        field.value = value;
        field.dispatchEvent(new Event("input", {bubbles: true}));
    }

    /** Returns whether there is such a field. */
    function put(id, value) {
        const field = find(id);
        if (field) write(field, value);
        return Boolean(field);
    }

    /** Returns whether there is such a button. */
    function press(id) {
        const element = document.getElementById(id);
        if (element) (element.matches("button") ? element : element.querySelector("button") || element).click();
        return Boolean(element);
    }

    /** Writes into a hidden field, and then presses the button whose handler reads it. */
    function ask(id, button, value) {
        if (put(id, value)) setTimeout(() => press(button), TAKEN_OVER);
    }

    /** Whether the server did not answer the last time. Until it does, scripts request nothing by themselves. */
    let isLost = false;

    function lost() {
        return isLost;
    }

    /** Returns whether the server answers at all, if only that it wants a password. */
    async function reach() {
        try {
            await fetch("train-embedding/v1/embeddings", {method: "HEAD", cache: "no-store"});
            isLost = false;
        } catch {
            isLost = true;
        }
        document.getElementById("te_panels")?.classList.toggle("te-is-lost", isLost);
        return !isLost;
    }

    return {find, text, write, put, press, ask, lost, reach};
})();
