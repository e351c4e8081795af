/*
 * Names, roles and keys that gradio's components lack, for screen readers and the keyboard: groups of radio buttons, fields and
 * their help texts, accordions, drop-down lists, the plot, and messages that are announced when they appear.
 *
 * gradio draws parts of the tab again at any time, so all of it is applied again and again, to what lacks it.
 */
(() => {
    "use strict";

    const TAB = "#te_panels";
    const TICK = 500;
    const TITLE = '[data-testid="block-info"]';
    const FIELD = 'textarea, select, input:not([type="radio"], [type="checkbox"], [type="file"])';
    const ANNOUNCED = [
        "te_create_status",
        "te_train_dataset_check",
        "te_train_images_status",
        "te_train_status",
        "te_dataset_status",
        "te_queue_status",
        "te_runs_status",
        "te_library_status",
        "te_presets_status",
        "te_library_combined",
        "html_info_txt2img",
    ];

    let identifiers = 0;

    function identify(element) {
        if (!element.id) element.id = `te_described_${++identifiers}`;
        return element.id;
    }

    /** Writes only what differs, since every change makes gradio's and the page's observers run. */
    function set(element, attributes) {
        for (const [name, value] of Object.entries(attributes)) {
            if (value !== null && element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
        }
    }

    /** The help text of a block: gradio 6 marks it; gradio 3 puts it below the title, and above a checkbox. */
    function helpOf(block, title) {
        const marked = block.querySelector(".info-text");
        if (marked) return marked;
        const beside = title ? title.nextElementSibling : block.querySelector(":scope > label")?.previousElementSibling;
        return beside?.matches("div:not(.wrap)") ? beside : null;
    }

    // ---- radio buttons, checkboxes, fields ---------------------------------------------------------------------------

    function describeBlock(block) {
        if (block.querySelector(":is(div, fieldset).block")) return; // an accordion or a group of others
        if (!block.querySelector("input, select, textarea")) return;
        const title = block.querySelector(TITLE);
        const help = helpOf(block, title);
        const described = {"aria-describedby": help && identify(help)};
        const named = {"aria-labelledby": title && identify(title)};
        const radios = block.querySelectorAll('input[type="radio"]');
        if (radios.length > 0) {
            set(block, {role: "radiogroup", ...named, ...described});
            joinRadios(block, radios);
            return;
        }
        const checkbox = block.querySelector('input[type="checkbox"]');
        if (checkbox && !title) set(checkbox, described);
        const field = title && block.querySelector(FIELD);
        if (field) set(field, {...named, ...described});
    }

    /** gradio 6 gives each button of a group another name, so that the arrow keys do not go from one to the next. */
    function joinRadios(block, radios) {
        const names = new Set(Array.from(radios, (radio) => radio.name));
        if (names.size > 1) for (const radio of radios) radio.name = `radio-${block.id}`;
    }

    /** gradio 3 marks its lists of options, but not the fields that open them. */
    function describeDropdown(block) {
        const field = block.querySelector(".secondary-wrap input:not([aria-controls])");
        if (!field) return;
        const options = block.querySelector("ul.options");
        set(field, {
            role: "combobox",
            "aria-autocomplete": "list",
            "aria-haspopup": "listbox",
            "aria-expanded": options !== null,
        });
    }

    // ---- accordions --------------------------------------------------------------------------------------------------

    /** gradio 3 has no buttons here, gradio 6 does not say whether they are open. */
    function describeAccordion(label) {
        set(label, {"aria-expanded": label.classList.contains("open")});
        if (!label.matches("button")) set(label, {role: "button", tabindex: 0});
        const icon = label.querySelector(".icon");
        if (icon) set(icon, {"aria-hidden": true});
    }

    document.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        if (!(event.target instanceof Element) || !event.target.matches(`${TAB} .label-wrap[role="button"]`)) return;
        event.preventDefault();
        event.target.click();
    });

    // ---- the plot, messages ------------------------------------------------------------------------------------------

    function describePlot() {
        const picture = document.querySelector("#te_train_plot :is(.vega-embed[role], .chart-wrapper)");
        const text = document.getElementById("te_train_plot_text");
        if (picture && text) set(picture, {role: "img", "aria-roledescription": "", "aria-label": text.textContent});
    }

    function announce() {
        for (const id of ANNOUNCED) {
            const element = document.getElementById(id);
            if (element) set(element, {"aria-live": "polite"});
        }
    }

    // ---- start -------------------------------------------------------------------------------------------------------

    function apply() {
        const tab = document.querySelector(TAB);
        if (!tab || tab.offsetParent === null) return;
        for (const block of tab.querySelectorAll(".block[id]")) {
            describeBlock(block);
            describeDropdown(block);
        }
        for (const icon of tab.querySelectorAll("svg:not([aria-hidden], [role], .marks)")) set(icon, {"aria-hidden": true});
        for (const label of tab.querySelectorAll(".label-wrap")) describeAccordion(label);
        describePlot();
        announce();
    }

    for (const kind of ["click", "focusin", "focusout"]) document.addEventListener(kind, () => setTimeout(apply, 50));
    setInterval(apply, TICK);
})();
