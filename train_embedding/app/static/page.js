// The standalone app's own part of the page: a click on a card does what the WebUI's cards do.
"use strict";

(() => {
    const boxes = "#txt2img_prompt textarea, #txt2img_neg_prompt textarea";
    const card = "#txt2img_textual_inversion_cards .card";
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
    document.addEventListener("keydown", (event) => {
        if ((event.key !== "Enter" && event.key !== " ") || !event.target.matches(card)) return;
        event.preventDefault();
        event.target.click();
    });
    document.addEventListener("click", (event) => {
        const clicked = event.target.closest(card);
        if (clicked) toggle(active?.isConnected ? active : document.querySelector(boxes), clicked.dataset.name);
    });
})();
