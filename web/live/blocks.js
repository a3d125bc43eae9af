/*
Split Markdown into blocks: code, formulas, and runs of text whose marks belong together. The line-by-line twin of
web/markdown/blocks.py, which gives the reasons. inline.js interprets the marks of a run.
*/
import { shallow } from "./bounds.js";
import { escapedAddress } from "./inline.js";
import { canBeTypeset } from "./formulas.js";

const QUOTE = 0;
const FENCE = /^(`{3,}|~{3,})([^]*)$/;
const CLOSING_FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*$/;
export const ITEM = /^([-*+]|([0-9]{1,9})[.)])( +|$)/;
const RULE = /^([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const UNDERLINE = /^(?:=+|--?)[ \t]*$/;
const HEADING = /^#{1,6}(?:[ \t]|$)/;
const BLOCK_FORMULA = /^(?:\$\$|\\\[)/;
const FOOTNOTE_LINE = /^\[\^[^\[\]\s]{1,50}\]:/;
const DEFINITION = /^\[([^\[\]\\`$^|:<&*_~]{1,100})\]:[ \t]*<?((?:https?:\/\/|mailto:)[^\s<>\\|]+?)>?(?:[ \t]+"[^"\\]*")?[ \t]*$/i;
const LEAD = /^(?:[ \t]*(?:>|[-*+](?=[ \t])|[0-9]{1,9}[.)](?=[ \t])))*[ \t]*/;
const FORMULA_LINES = 40;
const LANGUAGE = /^[ \t]*([A-Za-z0-9_+#.-]{0,30})/;
const NO_FORMULA = /\$\$|`|^~~~|!\[|\]\(|:[^\s:]*[[{]|:material\//;

/* Return the line with the tabs before its content expanded. */
function expanded(line) {
  const lead = LEAD.exec(line)[0];
  if (!lead.includes("\t")) return line;
  let wide = "";
  for (const sign of lead) wide += sign === "\t" ? " ".repeat(4 - (wide.length % 4)) : sign;
  return wide + line.slice(lead.length);
}

function indentOf(line, at) {
  let end = at;
  while (line[end] === " ") end++;
  return end - at;
}

/* Return a fence's language, without `mermaid`: Streamlit would draw a picture with any size and colours. */
function languageOf(info) {
  const language = LANGUAGE.exec(info)[1];
  return /^mermaid(?![A-Za-z0-9_])/i.test(language) ? "" : language;
}

const stripped = (text) => text.replace(/^[ \t]+|[ \t]+$/g, "");

/* Return the blocks {kind, start, prefixes, contents, isTop, fence} in order; every line is in one of them. `isTop` marks the
   start of a top-level block or list item; `fence` is "begin", "inside" or "end". Only the live answer needs these two. */
export function scan(lines) {
  const scanner = new Scanner(lines);
  while (scanner.at < lines.length) scanner.step();
  scanner.flush();
  return scanner.blocks;
}

class Scanner {
  constructor(lines) {
    this.lines = lines;
    this.blocks = [];
    this.at = 0;
    this.stack = [];
    this.fence = "";
    this.isBare = false;
    this.run = null;
    this.isTop = false;
    this.wasIndented = false; // the last non-blank line was indented code
  }

  flush() {
    if (this.run?.contents.length) this.blocks.push(this.run);
    this.run = null;
  }

  step() {
    const raw = this.lines[this.at];
    if (this.fence) {
      const line = this.stack.length ? expanded(raw) : raw;
      const [from, held] = this.held(line);
      if (held === this.stack.length) {
        this.isTop = false;
        const isEnd = CLOSING_FENCE.exec(line.slice(from))?.[1].startsWith(this.fence);
        if (isEnd) this.fence = "";
        this.one("code", line, 0).fence = isEnd ? "end" : "inside";
        return;
      }
      this.fence = "";
    }
    const line = shallow(expanded(raw));
    const [from, held] = this.held(line);
    const isParagraph = this.run !== null && !this.stack.length; // decides whether a list may begin here
    let isHeld = held === this.stack.length;
    const [pos, isNew] = this.opened(line, from, held);
    const indent = indentOf(line, pos);
    this.isTop = held === 0 && !this.wasIndented && (isNew ? !isParagraph : !this.run);
    if (pos + indent === line.length) { this.blank(line, held, isNew); return; }
    if (isNew || !this.run) {
      this.flush();
      if (!isNew) this.stack.length = held;
      isHeld = true;
    }
    this.isBare = false;
    this.leaf(line, pos, indent, held, isHeld);
  }

  held(line) {
    let pos = 0;
    for (const [count, width] of this.stack.entries()) {
      const indent = indentOf(line, pos);
      const isBlank = pos + indent === line.length;
      if (width === QUOTE) {
        if (isBlank || indent > 3 || line[pos + indent] !== ">") return [pos, count];
        pos += indent + 1;
        if (line[pos] === " ") pos++;
      } else if (isBlank) {
        if (this.isBare && count === this.stack.length - 1) return [pos, count];
      } else if (indent >= width) {
        pos += width;
      } else {
        return [pos, count];
      }
    }
    return [pos, this.stack.length];
  }

  opened(line, pos, held) {
    let isNew = false;
    const isParagraph = (this.run !== null || this.wasIndented) && held === this.stack.length;
    while (pos < line.length) {
      const indent = indentOf(line, pos);
      const rest = line.slice(pos + indent);
      const item = ITEM.exec(rest);
      if (indent > 3 || !(rest.startsWith(">") || item)) break;
      let width = QUOTE;
      let step = indent + 1 + rest.startsWith("> ");
      if (!rest.startsWith(">")) {
        const isEmpty = item[0].length === rest.length;
        if (RULE.test(rest) || (isParagraph && (isEmpty || (item[2] && Number(item[2]) !== 1)))) break;
        width = indent + item[1].length + (isEmpty || item[3].length > 4 ? 1 : item[3].length);
        step = Math.min(width, line.length - pos);
        this.isBare = isEmpty;
      }
      if (!isNew) { this.stack.length = held; isNew = true; }
      this.stack.push(width);
      pos += step;
    }
    return [pos, isNew];
  }

  blank(line, held, isNew) {
    this.flush();
    if (!isNew) { this.stack.length = held; this.isBare = false; this.isTop = false; }
    this.one("blank", line, 0);
  }

  leaf(line, pos, indent, held, isHeld) {
    const start = pos + indent;
    const content = line.slice(start);
    const fence = FENCE.exec(content);
    this.wasIndented = indent > 3 && !this.run;
    if (indent > 3) {
      if (this.run) this.isTop = false;
      else { this.isTop &&= !this.lines[this.at - 1]; this.one("code", line, 0); return; }
    } else if (fence && !(fence[1][0] === "`" && fence[2].includes("`"))) {
      this.isTop ||= held === 0;
      this.interrupt(held);
      this.fence = fence[1];
      this.one("code", line.slice(0, start) + fence[1] + languageOf(fence[2]), 0).fence = "begin";
      return;
    } else if (RULE.test(content)) {
      this.interrupt(held);
      this.one("as is", line, start);
      return;
    } else if (HEADING.test(content)) {
      this.isTop ||= held === 0;
      this.interrupt(held);
      this.one("text", line, start);
      return;
    } else if (BLOCK_FORMULA.test(content) && isHeld && this.formula(line, start)) {
      return;
    }
    if (this.run) this.paragraph(line.slice(0, pos) + content, pos, isHeld);
    else this.paragraph(line, start, isHeld);
  }

  interrupt(held) {
    if (this.run) { this.stack.length = held; this.flush(); }
  }

  paragraph(line, start, isHeld) {
    let content = line.slice(start);
    if (this.run?.contents.length && UNDERLINE.test(content)) {
      if (content[0] === "=" && this.run.contents.length === 1 && isHeld) {
        this.run.contents[0] = `# ${this.run.contents[0]}`;
        this.at++;
        this.flush();
        return;
      }
      content = `\\${content}`;
    }
    const definition = DEFINITION.exec(content);
    if (definition || FOOTNOTE_LINE.test(content)) {
      const hadRun = this.run !== null;
      this.flush();
      if (hadRun && !this.stack.length && !definition) this.blocks.push({ kind: "blank", start: this.at, prefixes: [""], contents: [""] });
    }
    if (definition) {
      this.run = { kind: "text", start: this.at, prefixes: [], contents: [] };
      this.one("as is", line, start).contents = [`[${definition[1]}]: <${escapedAddress(definition[2])}>`];
      return;
    }
    this.run ??= { kind: "text", start: this.at, prefixes: [], contents: [], isTop: this.isTop };
    if (!this.run.contents.length) this.run.start = this.at;
    this.run.hasLazy ||= !isHeld;
    this.run.prefixes.push(line.slice(0, start));
    this.run.contents.push(content);
    this.at++;
  }

  one(kind, line, start) {
    const block = { kind, start: this.at++, prefixes: [line.slice(0, start)], contents: [line.slice(start)], isTop: this.isTop };
    this.blocks.push(block);
    return block;
  }

  formula(first, start) {
    const close = first.startsWith("\\[", start) ? "\\]" : "$$";
    const body = [];
    const end = Math.min(this.lines.length, this.at + FORMULA_LINES);
    if (!this.lines.slice(this.at, end).some((line) => line.includes(close))) return false;
    for (let at = this.at; at < end; at++) {
      let content = first.slice(start + 2);
      if (at > this.at) {
        const line = shallow(expanded(this.lines[at]));
        const [pos, held] = this.held(line);
        content = stripped(line.slice(pos));
        if (held < this.stack.length || !content) return false;
      }
      const stop = content.indexOf(close);
      if (stop >= 0 && stripped(content.slice(stop + 2))) return false;
      body.push(stripped(stop < 0 ? content : content.slice(0, stop)));
      if (stop >= 0) return this.typeset(first.slice(0, start), body.filter(Boolean), at + 1);
    }
    return false;
  }

  typeset(prefix, body, end) {
    const tex = body.join("\n");
    if (!tex || body.some((part) => NO_FORMULA.test(part)) || !canBeTypeset(tex)) return false;
    this.flush();
    const contents = ["$$", ...body, "$$"];
    const rest = prefix.replace(/[^>]/g, " ");
    this.blocks.push({ kind: "formula", start: this.at, prefixes: contents.map((_, i) => (i ? rest : prefix)), contents, isTop: this.isTop });
    this.at = end;
    return true;
  }
}
