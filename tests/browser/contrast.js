/*
 * Contrast of every visible text below an element, by WCAG 2.2 (1.4.3): an expression whose value is a function that takes a
 * selector and returns [{text, place, ratio, color, background, fontSize}]. Text of disabled controls is exempt.
 *
 * Each element is composited in paint order: its background over what is behind it, then its content, then its opacity
 * applied to both. With gradients and images of one element, the worst colour stop counts.
 */
(selector) => {
    const HIDDEN = "script, style, template, option, datalist, svg title";
    const DISABLED = ":disabled, [aria-disabled='true'], [disabled]";
    const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});

    /** Any CSS colour as [red, green, blue, alpha], each from 0 to 1. */
    function parse(color) {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = "#000";
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        return Array.from(pixel.getImageData(0, 0, 1, 1).data, (value) => value / 255);
    }

    function over(color, behind) {
        const alpha = color[3];
        return [0, 1, 2].map((channel) => color[channel] * alpha + behind[channel] * (1 - alpha));
    }

    /** The colours an element paints behind its content: its background colour, or one for each stop of its gradients. */
    function fills(style, behind) {
        const plain = over(parse(style.backgroundColor), behind);
        const stops = style.backgroundImage.match(/(?:rgba?|hsla?|color|oklch|oklab|lab|lch)\([^()]*\)/g) || [];
        return stops.length ? stops.map((stop) => over(parse(stop), plain)) : [plain];
    }

    /** [text colour, background colour] as they appear on the screen, for each combination of gradient stops. */
    function composite(chain, color, behind) {
        if (chain.length === 0) return [[over(color, behind), behind]];
        const [{style, opacity}, ...inner] = chain;
        const fade = (rgb) => rgb.map((value, channel) => value * opacity + behind[channel] * (1 - opacity));
        return fills(style, behind).flatMap((fill) =>
            composite(inner, color, fill).map(([text, background]) => [fade(text), fade(background)]),
        );
    }

    function luminance(rgb) {
        const [red, green, blue] = rgb.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    }

    function contrast(first, second) {
        const [dark, light] = [luminance(first), luminance(second)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    }

    function chainOf(element) {
        const chain = [];
        for (let at = element; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            chain.unshift({style, opacity: Number(style.opacity)});
        }
        return chain;
    }

    function hex(rgb) {
        return `#${rgb.map((value) => Math.round(value * 255).toString(16).padStart(2, "0")).join("")}`;
    }

    function place(element) {
        const named = element.closest("[id]:not([id^='te_described'])"); // an element of gradio's, not one the script has marked
        const classes = Array.from(element.classList).filter((name) => !name.startsWith("svelte-"));
        const own = `${element.localName}${classes.map((name) => `.${name}`).join("")}`;
        return named && named !== element ? `#${named.id} ${own}` : named ? `#${named.id}` : own;
    }

    const found = [];

    function measure(element, text, style, opacity = 1) {
        const color = parse(element instanceof SVGElement ? style.fill : style.color);
        color[3] *= opacity;
        const pairs = composite(chainOf(element), color, [1, 1, 1]);
        const [worst] = pairs.map(([front, back]) => [contrast(front, back), front, back]).sort((a, b) => a[0] - b[0]);
        found.push({
            text: text.trim().replace(/\s+/g, " ").slice(0, 60),
            place: place(element),
            ratio: Math.round(worst[0] * 100) / 100,
            color: hex(worst[1]),
            background: hex(worst[2]),
            fontSize: parseFloat(style.fontSize),
        });
    }

    function isShown(element) {
        if (element.closest(HIDDEN) || element.closest(DISABLED)) return false;
        if (!element.checkVisibility({visibilityProperty: true})) return false;
        const {width, height} = element.getBoundingClientRect();
        return width > 1 && height > 1; // texts for screen readers alone are one pixel in size
    }

    function words(node) {
        return Array.from(node.childNodes)
            .filter((child) => child.nodeType === Node.TEXT_NODE)
            .map((child) => child.data)
            .join(" ")
            .trim();
    }

    function measureField(field) {
        if (["checkbox", "radio", "range", "file", "hidden", "color"].includes(field.type)) return;
        const text = field.localName === "select" ? field.selectedOptions[0]?.text : field.value;
        if (text) measure(field, text, getComputedStyle(field));
        else if (field.placeholder) {
            const style = getComputedStyle(field, "::placeholder");
            measure(field, `placeholder: ${field.placeholder}`, style, Number(style.opacity));
        }
    }

    for (const root of document.querySelectorAll(selector)) {
        for (const element of [root, ...root.querySelectorAll("*")]) {
            if (!isShown(element)) continue;
            if (element.matches("input, textarea, select")) {
                measureField(element);
                continue;
            }
            if (words(element)) measure(element, words(element), getComputedStyle(element));
            for (const pseudo of ["::before", "::after"]) {
                const style = getComputedStyle(element, pseudo);
                const content = style.content.match(/^"(.*\S.*)"$/);
                if (content) measure(element, content[1], style, Number(style.opacity));
            }
        }
    }
    return found;
}
