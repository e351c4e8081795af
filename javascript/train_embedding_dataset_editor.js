/*
 * The editor of the Dataset panel: a rectangle that chooses the part of the image that training uses, moved and resized with the
 * pointer, the arrow keys or number fields, and a mask that is painted on the image. What is painted stays in this script until it
 * is saved, because gradio may draw the editor again at any time.
 */
(() => {
    "use strict";

    const EDITOR = "#te_dataset_editor .te-editor";
    const TICK = 200;
    const MASK_SIDE = 1024; // pixels of the longer side of a mask
    const STROKES = 20; // that can be undone
    const STEP = 0.01; // of the image, with an arrow key
    const SMALLEST = 4; // pixels of the image
    const PICTURE = "data:image/jpeg;base64,";
    const MASK = "data:image/png;base64,";

    let state = null; // of the image in the editor

    function send(values) {
        if (!state) return;
        document.dispatchEvent(new Event("te-dataset-busy"));
        teFields.ask("te_dataset_edited", "te_dataset_edit_apply", JSON.stringify({image: state.image, ...values}));
    }

    // ---- taking over what the server has drawn -----------------------------------------------------------------------

    /** The editor in the page, with the state of its image; null if none is shown. */
    function current() {
        const editor = document.querySelector(EDITOR);
        if (!editor) {
            state = null;
            return null;
        }
        if (!state || state.serial !== editor.dataset.serial) begin(editor);
        if (state.editor !== editor || !editor.dataset.ready) show(editor);
        const other =
            teFields.find("te_dataset_current")?.value !== state.image ||
            teFields.find("te_dataset_open")?.value !== editor.dataset.folder;
        const hidden = other || state.closed;
        if (editor.hidden !== hidden) editor.hidden = hidden;
        return editor;
    }

    function begin(editor) {
        const [width, height] = [Number(editor.dataset.width), Number(editor.dataset.height)];
        const scale = Math.min(1, MASK_SIDE / Math.max(width, height));
        const sides = editor.dataset.crop.split(" ").map(Number);
        state = {
            serial: editor.dataset.serial,
            image: editor.dataset.image,
            width,
            height,
            mode: editor.dataset.mode,
            crop: sides.length === 4 ? {left: sides[0], top: sides[1], width: sides[2], height: sides[3]} : whole(),
            shape: "",
            tool: "brush",
            brush: 12,
            paint: blank(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))),
            strokes: [],
            confirming: false,
            closed: false,
            editor: null,
        };
        const mask = editor.dataset.mask;
        if (mask.startsWith(MASK)) load(state, mask);
    }

    function whole() {
        return {left: 0, top: 0, width: 1, height: 1};
    }

    function blank(width, height) {
        return Object.assign(document.createElement("canvas"), {width, height});
    }

    /** What is trained is opaque in the painted canvas, so grey levels become opacity. */
    function load(its, address) {
        const image = new Image();
        image.addEventListener("load", () => {
            const {width, height} = its.paint;
            const context = its.paint.getContext("2d", {willReadFrequently: true});
            context.drawImage(image, 0, 0, width, height);
            const pixels = context.getImageData(0, 0, width, height);
            for (let at = 0; at < pixels.data.length; at += 4) {
                pixels.data[at + 3] = pixels.data[at];
                pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = 255;
            }
            context.putImageData(pixels, 0, 0);
            if (state === its) draw();
        });
        image.src = address;
    }

    function show(editor) {
        state.editor = editor;
        editor.dataset.ready = "true";
        const picture = editor.querySelector(".te-stage-picture");
        if (picture && editor.dataset.picture.startsWith(PICTURE)) {
            picture.src = editor.dataset.picture;
            picture.hidden = false;
        }
        const canvas = editor.querySelector(".te-stage-mask");
        if (canvas) Object.assign(canvas, {width: state.paint.width, height: state.paint.height});
        const brush = editor.querySelector("[data-brush]");
        if (brush) brush.value = String(state.brush);
        draw();
    }

    // ---- drawing -----------------------------------------------------------------------------------------------------

    function draw() {
        const editor = state?.editor;
        if (!editor) return;
        const masking = state.mode === "mask";
        editor.dataset.mode = state.mode;
        pressed(editor, "mode-crop", !masking);
        pressed(editor, "mode-mask", masking);
        pressed(editor, "brush", state.tool === "brush");
        pressed(editor, "eraser", state.tool === "eraser");
        const back = editor.querySelector("[data-edit=stroke_back]");
        if (back) back.disabled = state.strokes.length === 0;
        const confirm = editor.querySelector(".te-editor-confirm");
        if (confirm) confirm.hidden = !state.confirming;
        drawCrop(editor);
        drawMask(editor);
    }

    function pressed(editor, name, on) {
        editor.querySelector(`[data-edit="${name}"]`)?.setAttribute("aria-pressed", String(on));
    }

    function drawCrop(editor) {
        for (const rectangle of editor.querySelectorAll(".te-selection, .te-hole")) {
            for (const side of ["left", "top", "width", "height"]) rectangle.style[side] = `${100 * state.crop[side]}%`;
        }
        const box = pixels();
        for (const field of editor.querySelectorAll("[data-side]")) {
            if (field !== document.activeElement) field.value = String(box[field.dataset.side]);
        }
    }

    function drawMask(editor) {
        const canvas = editor.querySelector(".te-stage-mask");
        if (!canvas || state.mode !== "mask") return;
        const context = canvas.getContext("2d");
        context.globalCompositeOperation = "source-over";
        context.clearRect(0, 0, canvas.width, canvas.height);
        context.fillStyle = "rgb(0 0 0 / 65%)";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.globalCompositeOperation = "destination-out";
        context.drawImage(state.paint, 0, 0);
    }

    /** The rectangle in whole pixels of the image. */
    function pixels() {
        const {left, top, width, height} = state.crop;
        const [x, y] = [Math.round(left * state.width), Math.round(top * state.height)];
        const [right, bottom] = [Math.round((left + width) * state.width), Math.round((top + height) * state.height)];
        return {left: x, top: y, width: right - x, height: bottom - y};
    }

    // ---- the rectangle -------------------------------------------------------------------------------------------------

    const between = (value, least, most) => Math.min(Math.max(value, least), most);

    function move(left, top) {
        const {width, height} = state.crop;
        state.crop = {left: between(left, 0, 1 - width), top: between(top, 0, 1 - height), width, height};
        draw();
    }

    /** Spans the rectangle between two corners or edges; with a shape, its height follows from its width, or the reverse. */
    function span(sides, handle) {
        let {left, top, right, bottom} = sides;
        const [least, lowest] = [Math.min(1, SMALLEST / state.width), Math.min(1, SMALLEST / state.height)];
        [left, right] = [between(left, 0, 1), between(right, 0, 1)];
        [top, bottom] = [between(top, 0, 1), between(bottom, 0, 1)];
        if (right - left < least) {
            if (handle.includes("w")) left = Math.max(0, right - least);
            right = Math.min(1, left + least);
            left = Math.max(0, right - least);
        }
        if (bottom - top < lowest) {
            if (handle.includes("n")) top = Math.max(0, bottom - lowest);
            bottom = Math.min(1, top + lowest);
            top = Math.max(0, bottom - lowest);
        }
        const shape = Number(state.shape) * (state.height / state.width);
        if (shape > 0) {
            let [width, height] = [right - left, bottom - top];
            if (handle === "n" || handle === "s") width = height * shape;
            else height = width / shape;
            const [most, highest] = [handle.includes("w") ? right : 1 - left, handle.includes("n") ? bottom : 1 - top];
            const fit = Math.min(1, most / width, highest / height);
            [width, height] = [width * fit, height * fit];
            if (handle.includes("w")) left = right - width;
            if (handle.includes("n")) top = bottom - height;
            [right, bottom] = [left + width, top + height];
        }
        state.crop = {left, top, width: right - left, height: bottom - top};
        draw();
    }

    function corners() {
        const {left, top, width, height} = state.crop;
        return {left, top, right: left + width, bottom: top + height};
    }

    let drag = null; // {handle or "move" or "paint", start, crop, last}

    function placeOf(event) {
        const bounds = state.editor.querySelector(".te-stage").getBoundingClientRect();
        return {x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height};
    }

    function beginDrag(event) {
        const start = placeOf(event);
        if (state.mode === "mask") {
            remember();
            drag = {handle: "paint", last: start};
            stroke(start, start);
            return;
        }
        const handle = event.target.closest("[data-handle]");
        const inside = event.target.closest(".te-selection");
        const isWhole = state.crop.width > 0.999 && state.crop.height > 0.999;
        if (handle) drag = {handle: handle.dataset.handle, start, crop: corners()};
        else if (inside && !isWhole) drag = {handle: "move", start, crop: corners()};
        else drag = {handle: "new", start, crop: corners()};
    }

    function continueDrag(event) {
        const place = placeOf(event);
        if (drag.handle === "paint") {
            stroke(drag.last, place);
            drag.last = place;
            return;
        }
        const [across, down] = [place.x - drag.start.x, place.y - drag.start.y];
        if (drag.handle === "move") {
            move(drag.crop.left + across, drag.crop.top + down);
        } else if (drag.handle === "new") {
            if (Math.hypot(across, down) < 0.01) return; // a click
            const handle = (down < 0 ? "n" : "s") + (across < 0 ? "w" : "e");
            const [left, right] = [Math.min(drag.start.x, place.x), Math.max(drag.start.x, place.x)];
            span({left, right, top: Math.min(drag.start.y, place.y), bottom: Math.max(drag.start.y, place.y)}, handle);
        } else {
            const sides = {...drag.crop};
            if (drag.handle.includes("w")) sides.left = Math.min(sides.left + across, sides.right);
            if (drag.handle.includes("e")) sides.right = Math.max(sides.right + across, sides.left);
            if (drag.handle.includes("n")) sides.top = Math.min(sides.top + down, sides.bottom);
            if (drag.handle.includes("s")) sides.bottom = Math.max(sides.bottom + down, sides.top);
            span(sides, drag.handle);
        }
    }

    // ---- painting ------------------------------------------------------------------------------------------------------

    function remember() {
        const copy = blank(state.paint.width, state.paint.height);
        copy.getContext("2d").drawImage(state.paint, 0, 0);
        state.strokes.push(copy);
        if (state.strokes.length > STROKES) state.strokes.shift();
        state.confirming = false;
    }

    function brushOn(tool) {
        const context = state.paint.getContext("2d", {willReadFrequently: true});
        context.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
        context.fillStyle = context.strokeStyle = "white";
        return context;
    }

    function stroke(from, to) {
        const {width, height} = state.paint;
        const context = brushOn(state.tool);
        context.lineCap = context.lineJoin = "round";
        context.lineWidth = Math.max(1, (state.brush / 100) * Math.max(width, height));
        context.beginPath();
        context.moveTo(from.x * width, from.y * height);
        context.lineTo(to.x * width + 0.01, to.y * height);
        context.stroke();
        draw();
    }

    /** Fills the parts of the mask that a function names, with the brush or the eraser. */
    function fill(tool, parts) {
        remember();
        const {width, height} = state.paint;
        const context = brushOn(tool);
        context.beginPath();
        parts(context, width, height);
        context.fill("evenodd");
        draw();
    }

    function cropIn(context, width, height) {
        const {left, top, width: across, height: down} = state.crop;
        context.rect(Math.round(left * width), Math.round(top * height), Math.round(across * width), Math.round(down * height));
    }

    function paintedPng() {
        const {width, height} = state.paint;
        const canvas = blank(width, height);
        const context = canvas.getContext("2d");
        context.fillStyle = "black";
        context.fillRect(0, 0, width, height);
        context.drawImage(state.paint, 0, 0);
        return canvas.toDataURL("image/png");
    }

    // ---- buttons, keys and fields ----------------------------------------------------------------------------------------

    const all = (context, width, height) => context.rect(0, 0, width, height);

    const actions = {
        "mode-crop": () => {
            state.mode = "crop";
        },
        "mode-mask": () => {
            state.mode = "mask";
        },
        close: () => {
            state.closed = true;
            current();
        },
        crop: () => send({action: "crop", crop: cropOf()}),
        whole: () => {
            state.crop = whole();
        },
        centre: () => send({action: "centre"}),
        undo_crop: () => send({action: "undo_crop"}),
        brush: () => {
            state.tool = "brush";
        },
        eraser: () => {
            state.tool = "eraser";
        },
        stroke_back: () => {
            state.paint = state.strokes.pop() || state.paint;
        },
        clear: () => fill("eraser", all),
        fill: () => fill("brush", all),
        inside: () => fill(state.tool, cropIn),
        outside: () =>
            fill(state.tool, (context, width, height) => {
                all(context, width, height);
                cropIn(context, width, height);
            }),
        mask: () => {
            if (state.editor.dataset.file === "true") state.confirming = true;
            else send({action: "mask", png: paintedPng()});
        },
        replace: () => {
            state.confirming = false;
            send({action: "mask", png: paintedPng(), replace: true});
        },
        keep: () => {
            state.confirming = false;
        },
        remove_mask: () => send({action: "remove_mask"}),
        foreground: () => send({action: "foreground"}),
        undo_mask: () => send({action: "undo_mask"}),
    };

    /** The rectangle as the server stores it; null for the whole image. */
    function cropOf() {
        const box = pixels();
        if (box.width >= state.width && box.height >= state.height) return null;
        const {width, height} = state;
        return {left: box.left / width, top: box.top / height, width: box.width / width, height: box.height / height};
    }

    document.addEventListener("click", (event) => {
        if (!(event.target instanceof Element)) return;
        const button = event.target.closest(`${EDITOR} button[data-edit]`);
        if (!button || !current()) return;
        actions[button.dataset.edit]?.();
        draw();
    });

    document.addEventListener("pointerdown", (event) => {
        if (!(event.target instanceof Element) || event.button !== 0 || !event.target.closest(`${EDITOR} .te-stage`)) return;
        if (!current()) return;
        event.preventDefault();
        state.editor.querySelector(".te-selection")?.focus({preventScroll: true});
        beginDrag(event);
    });

    document.addEventListener("pointermove", (event) => {
        if (!drag || !current()) return;
        event.preventDefault();
        continueDrag(event);
    });

    for (const kind of ["pointerup", "pointercancel"]) {
        document.addEventListener(kind, () => {
            drag = null;
        });
    }

    document.addEventListener("keydown", (event) => {
        if (!(event.target instanceof Element) || !event.target.matches(`${EDITOR} .te-selection`) || !current()) return;
        const steps = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]};
        const step = steps[event.key];
        if (!step || state.mode !== "crop" || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        if (!event.shiftKey) {
            move(state.crop.left + step[0], state.crop.top + step[1]);
            return;
        }
        const sides = corners();
        span({...sides, right: sides.right + step[0], bottom: sides.bottom + step[1]}, step[0] ? "e" : "s");
    });

    document.addEventListener("input", (event) => {
        if (!(event.target instanceof Element) || !event.target.closest(EDITOR) || !current()) return;
        if (event.target.matches("[data-brush]")) state.brush = Number(event.target.value) || state.brush;
        if (!event.target.matches("[data-side]") || event.target.value === "") return;
        const value = Number(event.target.value);
        if (!Number.isFinite(value)) return;
        const {side} = event.target.dataset;
        const part = value / (side === "left" || side === "width" ? state.width : state.height);
        const sides = corners();
        if (side === "left") move(part, state.crop.top);
        else if (side === "top") move(state.crop.left, part);
        else if (side === "width") span({...sides, right: sides.left + part}, "e");
        else span({...sides, bottom: sides.top + part}, "s");
    });

    document.addEventListener("change", (event) => {
        if (!(event.target instanceof Element) || !event.target.closest(EDITOR) || !current()) return;
        if (event.target.matches("[data-side]")) {
            event.target.blur();
            draw(); // what did not fit is corrected
        }
        if (!event.target.matches("[data-shape]")) return;
        state.shape = event.target.value;
        if (state.shape) span(corners(), "se");
    });

    setInterval(current, TICK);
})();
