/* A panel whose check is waiting replaces itself when the result is there, and the page's buttons with it. */
this.ckan.module("archiver-panel", function ($) {
  "use strict";
  var PAUSES = [1, 1, 1, 2, 2, 3, 5, 5, 10, 10, 20, 30];

  // CKAN 2.12 has toasts, for a reader who has scrolled away from the panel. They take HTML.
  function announce(panel) {
    var heading = panel.querySelector(".archiver-heading");
    if (!window.ckan.toast || !heading) { return; }
    var text = document.createElement("span");
    text.textContent = heading.textContent.trim();
    window.ckan.toast({
      message: text.innerHTML,
      type: { ok: "success", broken: "danger" }[panel.dataset.archiverVerdict] || "info",
      delay: 6000
    });
  }

  // Of a link that does not work the main button is the copy, of one that works it is the link.
  function renewActions() {
    var actions = document.querySelector(".module-resource .actions");
    if (!actions) { return; }
    fetch(window.location.href, { credentials: "same-origin" })
      .then(function (response) { return response.text(); })
      .then(function (html) {
        var page = new DOMParser().parseFromString(html, "text/html");
        var fresh = page.querySelector(".module-resource .actions");
        if (page.getElementById("archiver-panel") && fresh) { actions.replaceWith(fresh); }
      })
      .catch(function () { /* The buttons are as they were. */ });
  }

  return {
    options: { url: null },

    initialize: function () {
      this.tries = 0;
      this.wait();
    },

    wait: function () {
      if (this.tries < PAUSES.length) {
        window.setTimeout(this.look.bind(this), PAUSES[this.tries] * 1000);
        this.tries += 1;
      }
    },

    look: function () {
      var module = this;
      fetch(this.options.url, { credentials: "same-origin" })
        .then(function (response) {
          if (!response.ok) { throw new Error(response.statusText); }
          return response.text();
        })
        .then(function (html) {
          var fresh = new DOMParser().parseFromString(html, "text/html").getElementById("archiver-panel");
          if (!fresh) { return; }
          if (fresh.hasAttribute("data-module")) { module.wait(); return; }
          if (fresh.dataset.archiverVerdict !== module.el[0].dataset.archiverVerdict) { renewActions(); }
          module.el[0].replaceWith(fresh);
          fresh.setAttribute("role", "status");
          announce(fresh);
        })
        .catch(function () { module.wait(); });
    }
  };
});
