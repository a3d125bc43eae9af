/*
Follow links between conversations without reloading the page. They are real links: with a modifier key, with the middle button
and without this script they work as usual. web/views/chat/listing.py and sidebar.py draw them.
*/
const PHONE = "(max-width: 767px)";

export class Links {
  /* `opened` is called with the conversation's id ("" for a new one); the page then changes the address. */
  constructor(opened) {
    this.follow = (event) => {
      const link = event.target.closest?.("a[data-naru-link]");
      if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (matchMedia(PHONE).matches) document.querySelector("[data-testid='stSidebarCollapseButton'] button")?.click();
      opened(new URL(link.href).searchParams.get("c") ?? "");
    };
    document.addEventListener("click", this.follow);
  }

  close() {
    document.removeEventListener("click", this.follow);
  }
}
