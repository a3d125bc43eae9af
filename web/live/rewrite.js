/*
Model text -> Markdown that shows what the model meant, and can do nothing else. The twin of web/markdown/rewrite.py: for
the same text both give the same lines (tests/page/test_twins.py). Not here: drawing it (markdown.js).
*/
import { DELIMITER_ROW, scan } from "./blocks.js";
import { isTooDense, withoutFloods } from "./bounds.js";
import { inlineMarkdown, literalMarkdown, withoutIcons } from "./inline.js";

const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]/g;

/* {lines, dropped}: the lines that the whole text has to Streamlit, which takes common indentation away, and what surrounds the
   text; and how many lines that were before them. */
export function wholeLines(text) {
  const lines = preparedLines(text);
  const leads = lines.filter(Boolean).map((line) => /^[ \t]*/.exec(line)[0]);
  let margin = leads[0] ?? "";
  for (const lead of leads) while (!lead.startsWith(margin)) margin = margin.slice(0, -1);
  const first = lines.findIndex(Boolean);
  const dedented = lines.map((line) => line.slice(margin.length)).join("\n").trim();
  return { lines: dedented.split("\n"), dropped: Math.max(0, first) };
}

/* The lines of a part of a text. */
export function preparedLines(text) {
  const known = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").replace(CONTROL, "");
  return withoutFloods(known).split("\n").map((line) => (line.trim() ? line : ""));
}

/* The blocks of the lines, each with its `lines` as Markdown; `isDense` where they show a run as it is written. */
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
  const isDelimiters = (content) => /[|:]/.test(content) && DELIMITER_ROW.test(content);
  if (contents.some(isDelimiters)) return contents.map((content) => (isDelimiters(content) ? content : boundedText(content, true)));
  const run = contents.join("\n");
  block.isDense = isTooDense(run);
  return boundedText(run, false).split("\n");
}

function boundedText(run, inRow) {
  return isTooDense(run) ? literalMarkdown(run) : inlineMarkdown(run, inRow);
}
