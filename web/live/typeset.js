/*
TeX -> nodes, by the module that Streamlit itself typesets the ended answer with: the same KaTeX, the same errors, nothing
more to load. It is fetched when the first formula comes. Its tree becomes nodes by an allow-list, never by innerHTML.
Its name is looked up by modules.py; where it is not found, a formula stays its source until the answer has ended.
*/
const NAMESPACES = { math: "http://www.w3.org/1998/Math/MathML", svg: "http://www.w3.org/2000/svg" };
const DRAWN = new Set(("span math semantics annotation mrow mi mo mn ms mtext mspace mstyle msup msub msubsup mfrac msqrt mroot munder mover munderover " +
  "mtable mtr mtd mlabeledtr menclose mpadded mphantom mmultiscripts mprescripts merror svg path line").split(" "));
const KEPT = { className: "class", style: "style", ariaHidden: "aria-hidden", viewBox: "viewBox", preserveAspectRatio: "preserveAspectRatio", xmlns: "xmlns" };
const KEPT_AS_THEY_ARE = new Set("width height d x1 x2 y1 y2 display encoding mathvariant stretchy fence separator accent accentunder lspace rspace minsize maxsize " .concat(
  "scriptlevel displaystyle columnalign rowspacing columnspacing rowlines columnlines linethickness notation depth voffset movablelimits linebreak symmetric").split(" "));

let transform = null;
let loading = null;

export const canTypeset = () => transform !== null;

/* Resolves to whether formulas can be typeset from now on. */
export function loadTypesetter() {
  loading ??= (KATEX ? import(new URL(KATEX, document.baseURI).href) : Promise.reject(new Error("not found")))
    .then((module) => { transform = module.default(); return true; }, () => false);
  return loading;
}

/* The nodes of a formula; its source until the typesetter has come. */
export function typeset(tex, isBlock) {
  const source = document.createElement("span");
  source.className = isBlock ? "naru-tex naru-tex-block" : "naru-tex";
  source.textContent = tex;
  if (!transform) return source;
  const formula = { type: "element", tagName: "code", properties: { className: ["language-math", isBlock ? "math-display" : "math-inline"] }, children: [{ type: "text", value: tex }] };
  const tree = { type: "root", children: [{ type: "element", tagName: isBlock ? "pre" : "p", properties: {}, children: [formula] }] };
  try {
    transform(tree, { message: () => {} });
    const drawn = isBlock ? tree.children : tree.children[0].children;
    return drawn.length === 1 ? (drawnNode(drawn[0], null) ?? source) : source;
  } catch {
    return source;
  }
}

/* Every formula below `root` that stands there as its source. */
export function typesetAll(root) {
  for (const node of root.querySelectorAll(".naru-tex")) node.replaceWith(typeset(node.textContent, node.matches(".naru-tex-block")));
}

function drawnNode(node, namespace) {
  if (node.type === "text") return document.createTextNode(node.value);
  if (node.type !== "element" || !DRAWN.has(node.tagName)) return null;
  const space = NAMESPACES[node.tagName] ?? namespace;
  const made = space ? document.createElementNS(space, node.tagName) : document.createElement(node.tagName);
  for (const [name, value] of Object.entries(node.properties ?? {})) {
    const kept = KEPT[name] ?? (KEPT_AS_THEY_ARE.has(name) ? name : null);
    if (kept && value !== false && value != null) made.setAttribute(kept, Array.isArray(value) ? value.join(" ") : String(value));
  }
  for (const child of node.children ?? []) {
    const drawn = drawnNode(child, space);
    if (drawn) made.append(drawn);
  }
  return made;
}
