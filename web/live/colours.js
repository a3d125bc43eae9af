/*
Colour code with Prism. Finished answers use the same token names, so style.css colours both. Prism is fetched with the first
code that names a language. Code in an unsupported language stays plain until the answer has ended.
*/
const LONGEST_COLOURED = 10000; // characters of a block, which is parsed on each paint while it grows; the rest stays plain until the end

let prism = null;
let loadingColours = null;

/* Load Prism; resolves to whether code can be coloured. */
export function loadColours() {
  loadingColours ??= import(new URL(COLOURS, document.baseURI).href).then((module) => { prism = module.Prism; return true; }, () => false);
  return loadingColours;
}

export const canColour = () => prism !== null;

/* Return the nodes for code in `language`, a fence's name for it. */
export function coloured(code, language) {
  const grammar = prism && Object.hasOwn(prism.languages, language) ? prism.languages[language] : null;
  if (!grammar || typeof grammar === "function") return [code];
  const end = code.length > LONGEST_COLOURED ? code.lastIndexOf("\n", LONGEST_COLOURED) + 1 : code.length;
  const run = { code: code.slice(0, end), grammar, language };
  try {
    prism.hooks.run("before-tokenize", run);
    run.tokens = prism.tokenize(run.code, run.grammar);
    prism.hooks.run("after-tokenize", run);
    return [...[run.tokens].flat().flatMap((token) => drawn(token, [])), code.slice(end)].filter((part) => part !== "");
  } catch {
    return [code]; // Prism nests thousands of "#define"s
  }
}

/* Colour all plain code in `root`. */
export function colourAll(root) {
  for (const code of root.querySelectorAll("pre > code[data-language]")) {
    if (!code.childElementCount) code.replaceChildren(...coloured(code.textContent, code.dataset.language));
  }
}

/* Flatten the tokens as Streamlit does: each text node gets the names of all tokens that contain it. */
function drawn(token, names) {
  if (typeof token !== "string") return [token.content].flat().flatMap((part) => drawn(part, [...names, token.type, token.alias ?? []].flat()));
  if (!names.length) return token;
  const node = document.createElement("span");
  node.className = ["token", ...names].join(" ");
  node.textContent = token;
  return node;
}
