/*
Rewrite a model's text as Markdown that shows what the model meant, without side effects. The twin of web/markdown/rewrite.py:
both return the same lines for the same text (tests/fuzz/test_twins.py). markdown.js draws the result.
*/
import { ITEM, scan } from "./blocks.js";
import { isTooDense, withoutFloods } from "./bounds.js";
import { inlineMarkdown, literalMarkdown, withoutIcons } from "./inline.js";

const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]/g;
const DELIMITERS = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/* Return {lines, dropped}: the lines without common indentation and surrounding space, which Streamlit removes too, and how many
   lines were dropped before them. */
export function wholeLines(text) {
  const lines = preparedLines(text);
  const leads = lines.filter(Boolean).map((line) => /^[ \t]*/.exec(line)[0]);
  let margin = leads[0] ?? "";
  for (const lead of leads) while (!lead.startsWith(margin)) margin = margin.slice(0, -1);
  const first = lines.findIndex(Boolean);
  const dedented = lines.map((line) => line.slice(margin.length)).join("\n").trim();
  return { lines: dedented.split("\n"), dropped: Math.max(0, first) };
}

/* Return the lines of a part of a text. */
export function preparedLines(text) {
  const known = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").replace(CONTROL, "");
  return withoutFloods(known).split("\n").map((line) => (line.trim() ? line : ""));
}

/* Return the blocks, each with its Markdown in `lines`; `isDense` marks a run that is shown as its source. */
export function rewritten(lines) {
  const blocks = scan(lines);
  for (const block of blocks) {
    if (block.kind === "code") block.lines = [withoutIcons(block.contents[0])];
    else {
      const contents = block.kind === "text" ? textContents(block) : block.contents;
      block.lines = contents.slice(0, block.prefixes.length).map((content, i) => block.prefixes[i] + content);
    }
  }
  return blocks;
}

function textContents(block) {
  const { contents } = block;
  const isDelimiters = (content) => /[|:]/.test(content) && DELIMITERS.test(content);
  const at = Math.max(0, contents.findIndex((content, i) => i > 0 && isDelimiters(content)));
  const head = at ? boundedText(contents[at - 1], true) : "";
  if (!at || block.hasLazy || head.trim() === "|" || cellsOf(head) !== cellsOf(contents[at])) {
    const run = contents.map((content) => (isDelimiters(content) ? `\\${content}` : content)).join("\n");
    block.isDense = isTooDense(run);
    return boundedText(run, false).split("\n");
  }
  const before = at > 1 ? boundedText(contents.slice(0, at - 1).join("\n"), false).split("\n") : [];
  return [...before, head, contents[at], ...contents.slice(at + 1).map((row) => boundedText(inTable(row), true))];
}

function cellsOf(row) {
  return row.replace(/\\[\\|]/g, "").replace(/^[ \t]+|[ \t]+$/g, "").replace(/^\|/, "").replace(/\|$/, "").split("|").length;
}

function inTable(row) {
  const mark = ITEM.exec(row)?.[1];
  return mark ? `${mark.slice(0, -1)}\\${row.slice(mark.length - 1)}` : row;
}

function boundedText(run, inRow) {
  return isTooDense(run) ? literalMarkdown(run) : inlineMarkdown(run, inRow);
}
