/*
Render the live answer's growing Markdown as DOM nodes.

The text is rewritten as for Streamlit (rewrite.js) and parsed with the parser that Streamlit uses, block by block. Finished
blocks are never touched again; only the last, open block is parsed on each paint and patched in place. Every node is created
individually and innerHTML is never used, so markup in an answer stays text. stream.js receives the text, live.js shows it.
*/
import { micromark } from "./vendor/micromark.js";
import { canColour, colourAll, coloured, loadColours } from "./colours.js";
import { Beginning, FLOOD_SPAN, isTooDense, withoutFloods } from "./bounds.js";
import { preparedLines, rewritten, wholeLines } from "./rewrite.js";
import { canTypeset, loadTypesetter, typeset, typesetAll } from "./typeset.js";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const STAND_IN = "\ue000"; // surrounds the number of a text that is shown as its source, because parsing it would take seconds
const LIST_MARK = /^ {0,3}(?:([-*+])|[0-9]{1,9}([.)]))(?=\s|$)/;
const SIGNS = [["<->", "↔"], ["->", "→"], ["<-", "←"], ["--", "—"], [">=", "≥"], ["<=", "≤"], ["~=", "≈"]];
const LONGEST_HELD_FORMULA = 400; // characters; an incomplete formula is held back no longer than this

function element(name, children = [], attributes = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/* Streamlit replaces some characters; rewrite.js prevents most of that, and the rest is replicated here. */
function withSigns(text) {
  for (const [sign, drawn] of SIGNS) text = text.replace(new RegExp(`(^|\\s)${sign}(\\s|$)`, "g"), `$1${drawn}$2`);
  return text;
}

/* Escape an address for a definition, whose escapes and entities the parser has decoded. */
function escaped(address) {
  return address.replace(/[<>\\&]/g, "\\$&");
}

/* Write an address as Streamlit does. */
function encoded(address) {
  return address.replace(/%(?![A-Za-z0-9]{2})|[^!#$%&-;=?-Z_a-z~]/gu, (sign) => encodeURIComponent(sign.toWellFormed?.() ?? sign));
}

function link(address, children) {
  return SAFE_LINK.test(address) ? [element("a", children, { href: encoded(address), target: "_blank", rel: "noopener noreferrer" })] : children;
}

function inline(nodes, context, isLink = false) {
  return nodes.flatMap((node) => {
    const children = () => inline(node.children, context);
    switch (node.type) {
      case "text": return [isLink ? node.value : withSigns(node.value)];
      case "strong": return [element("strong", children())];
      case "emphasis": return [element("em", children())];
      case "delete": return [element("del", children())];
      case "inlineCode": return [element("code", [node.value.replace(/\r?\n|\r/g, " ")])];
      case "break": return [element("br"), "\n"];
      case "link": return link(node.url, inline(node.children, context, true));
      case "linkReference": return link(context.address(node.identifier), inline(node.children, context, true));
      case "inlineMath": context.hasFormulas = true; return [typeset(node.value, false)];
      case "image": case "imageReference": return [node.alt ?? ""]; // never fetched: the URL might leak a secret
      default: return [node.value ?? ""];
    }
  });
}

function table(node, context) {
  const cells = (row, name) => node.align.map((align, i) =>
    element(name, inline(row.children[i]?.children ?? [], context), align ? { style: `text-align: ${align};` } : {}));
  const [head, ...rows] = node.children.map((row, i) => element("tr", cells(row, i ? "td" : "th")));
  return element("table", [element("thead", [head]), ...(rows.length ? [element("tbody", rows)] : [])]);
}

function item(node, isLoose, context) {
  const content = node.children.flatMap((child) => (child.type === "paragraph" && !isLoose ? inline(child.children, context) : [block(child, context)]));
  const made = element("li", content.filter(Boolean));
  if (typeof node.checked === "boolean") {
    const box = element("input", [], { type: "checkbox", disabled: "", ...(node.checked ? { checked: "" } : {}) });
    const place = isLoose && node.children[0]?.type === "paragraph" ? made.firstChild : made;
    place.prepend(box, place.hasChildNodes() ? " " : "");
    made.className = "task-list-item";
  }
  return made;
}

function list(node, context) {
  const isLoose = node.spread || node.children.some((child) => child.spread);
  const start = node.ordered && node.start !== 1 ? { start: String(node.start) } : {};
  const tasks = node.children.some((child) => typeof child.checked === "boolean") ? { class: "contains-task-list" } : {};
  return element(node.ordered ? "ol" : "ul", node.children.map((child) => item(child, isLoose, context)), { ...start, ...tasks });
}

function codeBlock(code, language, context) {
  context.hasCode ||= language !== "";
  return element("pre", [element("code", coloured(code, language), language ? { "data-language": language } : {})], { tabindex: "0" });
}

function block(node, context) {
  switch (node.type) {
    case "definition": return null;
    case "heading": return element(`h${node.depth}`, inline(node.children, context));
    case "paragraph": return element("p", inline(node.children, context));
    case "list": return list(node, context);
    case "blockquote": return element("blockquote", node.children.map((child) => block(child, context)).filter(Boolean));
    case "code": return codeBlock(node.value.replace(/^\n/, ""), /^\w*/.exec(node.lang ?? "")[0], context);
    case "table": return table(node, context);
    case "thematicBreak": return element("hr");
    case "math": context.hasFormulas = true; return typeset(node.value, true);
    default: return node.value ? element("p", [node.value]) : null;
  }
}

/* Turn `old` into `fresh` by changing only the differences. */
function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return;
  }
  for (const { name } of Array.from(old.attributes)) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of Array.from(fresh.attributes)) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const wanted = Array.from(fresh.childNodes);
  wanted.forEach((child, i) => {
    const present = old.childNodes[i];
    if (!present) old.append(child);
    else if (present.nodeName === child.nodeName) patch(present, child);
    else present.replaceWith(child);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function openFence(text) {
  let fence = "";
  for (const [, mark] of text.matchAll(/^[ \t>]*(?:[-*+] +|\d+[.)] +)?(`{3,}|~{3,})/gm)) {
    if (!fence) fence = mark;
    else if (mark[0] === fence[0] && mark.length >= fence.length) fence = "";
  }
  return fence !== "";
}

/* An incomplete line may still become a list, a rule, a heading or a table, so hold it back. */
export function held(text) {
  const lines = text.split("\n");
  const ends = lines.at(-1) === "";
  if (ends) lines.pop();
  const isRow = (line) => /^[ \t]*\|/.test(line ?? "");
  const rows = isRow(lines.at(-1)) ? 1 + isRow(lines.at(-2)) + isRow(lines.at(-3)) : 0;
  const isHeadOnly = rows === 1 || (rows === 2 && !ends && /^[-:| \t]*$/.test(lines.at(-1)));
  if (isHeadOnly && !openFence(text)) return text.slice(0, text.length - lines.slice(-rows).join("\n").length - ends);
  const begun = ends ? "" : lines.at(-1);
  return /^[ \t]*(?:[-*+=_~`#>|]+|\d{1,9}[.)]?)[ \t]*$/.test(begun) ? text.slice(0, text.length - begun.length) : text;
}

/* Close unclosed marks, so that half a `**bold` is bold and not two asterisks. */
export function healed(text) {
  if (openFence(text)) return text;
  const from = Math.max(text.lastIndexOf("\n\n") + 2, text.search(/\n[ \t]*(?:[-*+]|\d+[.)]|#{1,6}|\||>)[ \t][^\n]*$/) + 1, 0);
  const marker = /^[ \t]*(?:[-*+]|\d+[.)]|#{1,6}|>)[ \t]+/.exec(text.slice(from))?.[0].length ?? 0;
  if (isTooDense(text.slice(from))) return text;
  let part = text.slice(from + marker).replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1");
  const open = [];
  for (const match of part.matchAll(/\\[(\[]|\\.|`+|\*{1,3}|~~|\$\$/g)) {
    const mark = match[0];
    const top = open.at(-1);
    const end = match.index + mark.length;
    if (top?.verbatim) {
      if (mark === top.close) open.pop();
      continue;
    }
    if (mark === "\\(" || mark === "\\[") open.push({ verbatim: true, at: match.index, end, close: mark === "\\(" ? "\\)" : "\\]" });
    else if (mark[0] === "\\") continue;
    else if (mark[0] === "`" || mark === "$$") open.push({ verbatim: true, at: match.index, end, close: mark });
    else if (top?.close === mark && /\S/.test(part[match.index - 1] ?? "")) open.pop();
    else if (end === part.length || /\S/.test(part[end])) open.push({ at: match.index, end, close: mark });
  }
  while (open.length && !part.slice(open.at(-1).end).trim()) part = part.slice(0, open.pop().at);
  return text.slice(0, from + marker) + (open.length ? part.trimEnd() + open.reverse().map((mark) => mark.close).join("") : part);
}

/* Split the text into parts that can be parsed alone: top-level blocks, and single list items. */
function pieces(blocks) {
  const parts = [];
  for (const block of blocks) {
    if (!parts.length || block.isTop) parts.push({ lines: [], blocks: [], dense: [], from: block.start });
    const part = parts.at(-1);
    part.blocks.push(block);
    if (block.isDense) part.lines.push(`${block.prefixes[0]}${STAND_IN}${part.dense.push(block.contents.join("\n")) - 1}${STAND_IN}`);
    else part.lines.push(...block.lines);
  }
  parts.forEach((part, i) => {
    // A blank line after a list is not part of its last item, whose code may be open.
    const next = parts[i + 1]?.lines[0];
    part.text = part.lines.join("\n") + (next !== undefined && (part.lines.at(-1) !== "" || LIST_MARK.test(next)) ? "\n" : "");
    part.key = [part.text, ...part.dense].join("\n");
  });
  return parts;
}

/* Replace the stand-ins by their texts. */
function fill(nodes, dense) {
  for (const node of nodes) {
    if (node.type === "text") node.value = node.value.replace(new RegExp(`${STAND_IN}([0-9]+)${STAND_IN}`, "g"), (all, index) => dense[index] ?? all);
    if (node.children) fill(node.children, dense);
  }
}

/* Handle fenced code, which needs no parser. */
function simple({ blocks, lines }) {
  const [first] = blocks;
  if (first.fence === "begin" && /^ {0,3}[`~]/.test(lines[0])) {
    const indent = /^ */.exec(lines[0])[0].length;
    const end = blocks.findIndex(({ fence }) => fence === "end");
    if (end >= 0 && blocks.slice(end + 1).some(({ kind }) => kind !== "blank")) return null;
    const code = lines.slice(1, end < 0 ? lines.length : end);
    if (indent && code.some((line) => /^ {0,2}\t/.test(line))) return null; // the indentation would split a tab
    const inside = code.map((line) => line.replace(new RegExp(`^ {0,${indent}}`), ""));
    return [{ type: "code", lang: /^ *[`~]+[ \t]*([^ \t]*)/.exec(lines[0])[1], value: inside.join("\n") }];
  }
  return null;
}

function definitionsIn(nodes) {
  return nodes.flatMap((node) => (node.type === "definition" ? [node] : ["blockquote", "list", "listItem"].includes(node.type) ? definitionsIn(node.children) : []));
}

/* Return the blocks of all parts, {node, raw, from}. Adjacent items are joined into one list, as if parsed together. */
function joined(parsed) {
  const made = [];
  const markOf = (node, text) => (node?.type === "list" ? LIST_MARK.exec(text.slice(node.position.start.offset)).slice(1).join("") : "");
  for (const { nodes, text, key, from, isSpaced } of parsed) {
    let rest = nodes;
    const last = made.at(-1);
    const first = nodes[0];
    if (last?.mark && last.mark === markOf(first, text)) {
      last.items.push(...first.children);
      last.node = { ...last.node, spread: last.node.spread || last.isSpaced || first.spread, children: last.items };
      last.keys.push(key);
      last.isSpaced = isSpaced;
      rest = nodes.slice(1);
    }
    rest.forEach((node, i) => made.push({ node, order: i, isStart: i === 0 && rest === nodes, from, mark: markOf(node, text), isSpaced, keys: [key], items: node.type === "list" ? [...node.children] : [] }));
  }
  for (const entry of made) entry.raw = [entry.order, entry.node.spread, ...entry.keys].join("\n");
  return made;
}

export class GrowingAnswer {
  constructor(root) {
    this.root = root;
    this.clear();
  }

  clear() {
    this.text = "";
    this.beginning = new Beginning();
    this.settled = 0; // UTF-16 units (not offsets) whose blocks are final
    this.open = []; // [{raw, nodes}] of the blocks that may still change
    this.parsed = new Map(); // the open parts' trees, by their Markdown
    this.definitions = new Map(); // link definitions: {address, line} by name
    this.context = { address: (name) => this.definitions.get(name)?.address ?? "", hasFormulas: false, hasCode: false };
    this.isFinal = false;
    this.root.replaceChildren();
  }

  append(text) {
    const at = Math.max(this.settled, this.text.length - FLOOD_SPAN); // a flood may arrive in several pieces
    this.text = this.text.slice(0, at) + withoutFloods(this.text.slice(at) + this.beginning.take(text.replaceAll("\r", "")));
  }

  replace(text) {
    const whole = text.replaceAll("\r", "");
    if (!whole.startsWith(this.text)) this.clear();
    this.append(whole.slice(this.text.length));
  }

  /* The limit is reached: the answer continues, but is not drawn further. */
  get isCut() {
    return this.beginning.isOver;
  }

  paint({ final = false } = {}) {
    if (final && !this.isFinal && this.definitions.size) this.reopen(); // a definition at the end may apply to the beginning
    this.isFinal = final;
    const tail = this.text.slice(this.settled);
    const shown = final ? tail : healed(held(tail));
    const { lines, dropped } = this.settled ? { lines: preparedLines(shown), dropped: 0 } : wholeLines(shown);
    const parts = pieces(rewritten(lines));
    const blocks = joined(this.parseAll(parts));
    blocks.forEach((entry, i) => this.place(entry, i));
    for (const entry of this.open.slice(blocks.length)) entry.nodes.forEach((node) => node.remove());
    this.open = blocks;
    if (!final) this.settle(tail, dropped);
    if (this.context.hasFormulas) this.typesetSoon();
    if (this.context.hasCode) this.colourSoon();
  }

  reopen() {
    this.settled = 0;
    this.open = [];
    this.parsed.clear();
    this.root.replaceChildren();
  }

  /* Parse the parts; parse again if they define links that others use. */
  parseAll(parts) {
    const parsed = parts.map((part) => this.parse(part));
    const before = this.definitions.size;
    for (const { label, identifier, url } of parsed.flatMap(({ definitions }) => definitions)) {
      if (!this.definitions.has(identifier)) this.definitions.set(identifier, { address: url, line: `[${label}]: <${escaped(url)}>` });
    }
    if (this.definitions.size === before) return parsed;
    this.parsed.clear();
    return parts.map((part) => this.parse(part));
  }

  parse(part) {
    const { text, key } = part;
    let tree = this.parsed.get(key);
    if (!tree) {
      const known = text.includes("[") ? [...this.definitions.values()].map(({ line }) => `\n\n${line}`) : [];
      const nodes = simple(part) ?? micromark.parse([text, ...known].join("")).children;
      tree = { nodes: nodes.filter(({ position }) => !(position?.start.offset >= text.length)), definitions: text.includes("]: <") ? definitionsIn(nodes) : [] };
      if (part.dense.length) fill(tree.nodes, part.dense);
      this.parsed.set(key, tree);
    }
    return { ...tree, text, key, from: part.from, isSpaced: part.blocks.length > 1 && part.blocks.at(-1).kind === "blank" };
  }

  place(entry, index) {
    const previous = this.open[index];
    if (previous && previous.raw === entry.raw) {
      entry.nodes = previous.nodes;
      return;
    }
    const fresh = [block(entry.node, this.context)].filter(Boolean);
    if (previous?.nodes.length === 1 && fresh.length === 1 && previous.nodes[0].nodeName === fresh[0].nodeName) {
      patch(previous.nodes[0], fresh[0]);
      entry.nodes = previous.nodes;
      return;
    }
    const anchor = this.open.slice(index).flatMap((later) => later.nodes)[0] ?? null;
    fresh.forEach((node) => this.root.insertBefore(node, anchor));
    previous?.nodes.forEach((node) => node.remove());
    entry.nodes = fresh;
  }

  /* Blocks before the last one that begins in a complete line are final. */
  settle(tail, dropped) {
    const starts = [0];
    for (let at = tail.indexOf("\n"); at >= 0; at = tail.indexOf("\n", at + 1)) starts.push(at + 1);
    const last = this.open.findLastIndex(({ isStart, from }) => isStart && from + dropped < starts.length - 1);
    if (last < 1) return;
    this.settled += starts[this.open[last].from + dropped];
    this.open = this.open.slice(last);
    const keys = new Set(this.open.flatMap((entry) => entry.keys));
    for (const key of this.parsed.keys()) if (!keys.has(key)) this.parsed.delete(key);
  }

  /* Load the typesetter with the first formula; until it arrives, formulas are shown as their source. */
  async typesetSoon() {
    this.context.hasFormulas = false;
    if (canTypeset() || !(await loadTypesetter()) || !this.root.querySelector(".naru-tex")) return;
    for (const entry of this.open) entry.nodes.forEach((node) => node.remove());
    this.open = [];
    typesetAll(this.root);
    this.paint({ final: this.isFinal });
  }
  /* Load the colours with the first code. */
  async colourSoon() {
    this.context.hasCode = false;
    if (!canColour() && (await loadColours())) colourAll(this.root);
  }
}
