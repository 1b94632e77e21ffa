// The sign-in: one token, which the gate's own file holds.
import { post } from "./api.js";
import { el, replace } from "./dom.js";

export const title = "Sign in";

/** Fills `main` with the form; calls `done` once the gate has taken the token. */
export function open({ main, done }) {
  const token = el("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "where fault" });
  const fault = el("p", { id: "fault", class: "fault", role: "alert" });
  const button = el("button", { class: "primary" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    replace(fault);
    try {
      await post("login", { token: token.value });
      done();
    } catch (error) {
      fault.textContent = sentence(error);
      token.select();
      token.focus();
    } finally {
      button.disabled = false;
    }
  };
  replace(main, el("form", { class: "sign-in", submit },
    el("h1", {}, "Sign in"),
    el("label", { for: "token" }, "Token"), token,
    el("p", { id: "where", class: "hint" }, "It is in the file that ", el("code", {}, "admin: { token-file: … }"), " of the configuration names."),
    button, fault));
  token.focus();
}

function sentence(error) {
  if (error.status === 401) return "This is not the token.";
  if (error.status === 429) {
    const wait = error.retryAfter;
    return wait === null ? "Too many wrong tokens. Try again later." : `Too many wrong tokens. Try again in ${wait} ${wait === 1 ? "second" : "seconds"}.`;
  }
  return error.message;
}
