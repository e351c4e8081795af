/*
 * gradio's fields and buttons, for the other scripts. They call these functions only once the page is there, so the order in
 * which a host loads the scripts does not matter.
 */
window.teFields = (() => {
    "use strict";

    /** Milliseconds after which gradio has taken over what was written into a field. */
    const TAKEN_OVER = 50;
    /** Milliseconds after which a server that has not answered is lost. */
    const PATIENCE = 5000;

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

    let isLost = false;

    /** Whether the server did not answer the last time. */
    function lost() {
        return isLost;
    }

    /** Presses a button because a script wants news, not because of a click; not while the server is lost. */
    function request(id) {
        if (!isLost) press(id);
    }

    /** Returns whether the server answers at all, if only that it wants a password. */
    async function reach() {
        try {
            const signal = AbortSignal.timeout(PATIENCE);
            await fetch("train-embedding/v1/embeddings", {method: "HEAD", cache: "no-store", signal});
            isLost = false;
        } catch {
            isLost = true;
        }
        document.getElementById("te_panels")?.classList.toggle("te-is-lost", isLost);
        return !isLost;
    }

    return {find, text, write, put, press, ask, request, lost, reach};
})();
