// The standalone app's own part of the page: a click on a card does what the WebUI's cards do.
"use strict";

(() => {
    const boxes = "#txt2img_prompt textarea, #txt2img_neg_prompt textarea";
    let active = null;

    const write = (box, text) => {
        box.value = text;
        box.dispatchEvent(new Event("input", {bubbles: true}));
    };

    // As in the WebUI, a first click appends the name and a second one takes it away again.
    const toggle = (box, name) => {
        const text = box.value;
        const tail = ` ${name}`;
        if (text === name) write(box, "");
        else if (text.endsWith(tail)) write(box, text.slice(0, -tail.length));
        else write(box, text + (text ? tail : name));
    };

    document.addEventListener("focusin", (event) => {
        if (event.target.matches(boxes)) active = event.target;
    });
    document.addEventListener("click", (event) => {
        const card = event.target.closest("#txt2img_textual_inversion_cards .card");
        if (card) toggle(active?.isConnected ? active : document.querySelector(boxes), card.dataset.name);
    });
})();
