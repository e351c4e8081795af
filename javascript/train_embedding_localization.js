/*
 * Keeps the WebUI's page localization out of the tab.
 *
 * The server translates the tab's own texts. The WebUI's localization.js replaces every text on the page that equals a key of
 * its dictionary; in the tab these would be names of embeddings, captions and tokens. It calls the functions below by their
 * global names, so they can be wrapped. Where they do not exist, there is nothing to do.
 */
(() => {
    "use strict";

    const TAB = "#te_panels, #te_unavailable";

    function isInTab(node) {
        const element = node instanceof Element ? node : node.parentElement;
        return element !== null && element.closest(TAB) !== null;
    }

    function wrap(name, around) {
        const original = window[name];
        if (typeof original === "function") window[name] = (...values) => around(original, ...values);
    }

    wrap("canBeTranslated", (original, node, text) => !isInTab(node) && original(node, text));

    wrap("processNode", (original, node) => {
        if (!isInTab(node)) original(node);
    });

    /** It also replaces placeholders, which it finds by component. */
    wrap("localizeWholePage", (original) => {
        const fields = Array.from(document.querySelectorAll("#te_panels [placeholder]"), (field) => [field, field.placeholder]);
        original();
        for (const [field, placeholder] of fields) field.placeholder = placeholder;
    });
})();
