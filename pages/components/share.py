"""Ways to show a model to others: a page that needs no server, and an upload to the Hub with a token that is kept only
for the click."""

import tempfile
from pathlib import Path

import streamlit as st

from ddpm.deploy.space import push_space, space_files, summary, zip_bytes
from ddpm.deploy.static_page import static_files
from ddpm.errors import DDPMError, HubError, one_line
from ddpm.escaping import as_markdown
from ddpm.media.model_card import CARD, SAMPLES, write_model_folder
from ddpm.media.subject import write_model_files
from ddpm.models import Model
from ddpm.quantities import size_text
from ddpm.storage.hub import check_repo_id
from ddpm.storage.places import resolve
from ddpm.storage.publish import check_token, publish

from .models import computing, identity, in_turn
from .public import show_error

STATIC, MODEL, SPACE = "A page anyone can open", "A model on the Hub", "The app as a Space"
PAGE_MADE = "share_page_made"  # in the session: of which model the last page is, and its ZIP
OUTCOME, PUSHES = "share_outcome", "share_pushes"  # in the session: the outcome of the last click; how many there were


def page_for_anyone(model: Model) -> None:
    """How to make the page that needs no server, and where to put it."""
    static = f"python -m ddpm static --model {model.reference}"
    st.markdown("A folder with a page that draws with this model on your friend's own phone or computer. Your friend "
                "needs no Python and no account, but an address: put the folder on any web server.")  # fmt: skip
    made_here(model)
    st.markdown("One command makes it and puts it into a static Space, free of charge, with your account at Hugging "
                "Face; sign in with `hf auth login` first:")  # fmt: skip
    st.code(f"{static} --push user/name", language="bash", wrap_lines=True)
    st.markdown("Another makes a repository for GitHub Pages, also free of charge; its README says how it gets there:")
    st.code(f"python -m ddpm space --host pages --model {model.reference} --out page", language="bash", wrap_lines=True)
    st.markdown("Type commands in a terminal, in the folder of DDPM Lab, after `source .venv/bin/activate`.")
    if model.config.data.dataset == "folder":
        st.caption("Your own images are not in it: only the network that learned from them, and the names of the "
                   "classes.")  # fmt: skip


def made_here(model: Model) -> None:
    """A button that makes the page, and a download of it once it is there."""
    if st.button("Make the page", key="share_make", type="primary", icon=":material/build:",
                 help="Takes some minutes, and needs Node.js the first time."):  # fmt: skip
        doing = st.empty()
        try:
            with computing("static page"):
                files = static_files(model.reference, tell=lambda what: doing.caption(f"Now {as_markdown(what)}."))
                st.session_state[PAGE_MADE] = identity(model), zip_bytes(files)
        except DDPMError as error:
            show_error(error)
        doing.empty()
    of, content = st.session_state.get(PAGE_MADE, (None, b""))
    if of == identity(model):
        st.download_button(f"Download .zip, {size_text(len(content))}", content, f"{model.config.name}-page.zip",
                           "application/zip", icon=":material/download:", on_click="ignore")  # fmt: skip


def simplest(model: Model) -> None:
    """What can be sent as a file."""
    st.markdown("The simplest to send is a file:")
    link = {"play_model": model.reference}
    st.page_link("pages/playground.py", label="A picture or a movie", icon=":material/image:", query_params=link)
    st.caption("Playground, below the picture: PNG, GIF and MP4.")
    link = {"eval_model": model.reference}
    st.page_link("pages/evaluate.py", label="A report", icon=":material/article:", query_params=link)
    st.caption("Evaluate, **Report**: all about the model in one HTML file, with its samples.")


def show_files(what: str, reference: str) -> None:
    """What would be sent, and how large it is."""
    weights = resolve(reference).weights
    about, sizes = _listing(what, reference, str(weights), weights.stat().st_mtime)
    st.markdown(about)
    rows = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    table = {"File": [name for name, _ in rows], "Size": [size_text(size) if size else "–" for _, size in rows]}
    widths = {"File": st.column_config.Column(width="large"), "Size": st.column_config.Column(width="small")}
    st.dataframe(table, hide_index=True, height=min(38 + 35 * len(rows), 390), column_config=widths)


@st.cache_data(show_spinner="Listing the files", max_entries=8)
def _listing(what: str, reference: str, weights: str, modified: float) -> tuple[str, dict[str, int]]:
    """A sentence on what is sent, and the files with their sizes in bytes; 0 for what is made on the click."""
    if what == SPACE:
        files = space_files(reference)
        return summary(files), {name: len(content) for name, content in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_model_files(reference, Path(folder))
        sizes = {path.name: path.stat().st_size for path in Path(folder).iterdir()}
    return (
        f"{len(sizes)} files, {size_text(sum(sizes.values()))}, and a card with samples, drawn when it is sent",
        sizes | {CARD: 0, SAMPLES: 0},
    )


def download_space(reference: str) -> None:
    st.download_button(
        "Download .zip", in_turn(lambda: zip_bytes(space_files(reference))), "ddpm-lab-space.zip", "application/zip",
        icon=":material/download:", on_click="ignore", help="The Space's folder, for any host that builds containers.",
    )  # fmt: skip


def push_form(what: str, model: Model) -> str:
    """The form, and the push when it is sent; returns the name on the Hub, a stand-in if there is none yet.

    A form's fields reach the server with the click, not before. The token's field has a new key after each upload: its
    value is dropped with the old one, before anything is sent. If nothing can be sent, it stays.
    """
    reference, own = model.reference, model.config.data.dataset == "folder"
    key = f"share_token_{st.session_state.setdefault(PUSHES, 0)}"
    with st.form("share_form"):
        repo_id = st.text_input("Name on the Hub", placeholder="user/name", key="share_repo").strip()
        token = st.text_input(
            "Your access token", placeholder="hf_...", type="password", autocomplete="off", key=key,
            help="From huggingface.co/settings/tokens, with write access. It is used for this one upload and "
            "forgotten: it is neither stored nor logged.",
        ).strip()  # fmt: skip
        private = st.toggle(
            "Private", own, key="share_private_own" if own else "share_private", help="Only for you to see."
        )
        named = as_markdown(reference)
        label = f"Create a Space with {named}" if what == SPACE else f"Push {named}"
        clicked = st.form_submit_button(label, type="primary", icon=":material/cloud_upload:", width="stretch")
    if clicked and (fault := _fault(repo_id, token)):
        st.session_state[OUTCOME] = what, reference, False, fault
    elif clicked:
        del st.session_state[key]
        st.session_state[PUSHES] += 1
        with st.spinner("Sending, and checking what arrived"):
            st.session_state[OUTCOME] = what, reference, *_tried(what, reference, repo_id, token, private)
        st.rerun()
    return repo_id or "user/name"


def _fault(repo_id: str, token: str) -> str | None:
    """What is wrong with the form, as far as that is clear without asking the Hub or making anything."""
    if not repo_id:
        return "Enter a name on the Hub, e.g. user/name"
    try:
        check_repo_id(repo_id)
    except HubError as error:
        return str(error)
    if not token:  # without one, that of the server's owner would be used
        return "Type your own access token, with write access: huggingface.co/settings/tokens makes one"
    return None


def _tried(what: str, reference: str, repo_id: str, token: str, private: bool) -> tuple[bool, str]:
    """Push; returns whether it succeeded, and the address or what went wrong."""
    try:
        check_token(repo_id, token)
        if what == SPACE:
            return True, push_space(space_files(reference), repo_id, token=token, private=private)
        with tempfile.TemporaryDirectory() as folder:
            with computing("model card"):
                write_model_folder(reference, Path(folder), repo_id)
            return True, publish(
                Path(folder), repo_id, kind="model", token=token, private=private, message=f"Upload {reference}"
            )
    except (DDPMError, OSError) as error:
        return False, one_line(error)


def tell_outcome(what: str, reference: str) -> None:
    """Show the outcome of the last click, while the page shows what was sent."""
    *sent, done, text = st.session_state.get(OUTCOME, (None, None, False, ""))
    if sent != [what, reference]:
        return
    if not done:
        show_error(text)
        return
    text = f"[{as_markdown(text)}](<{text}>)."  # the Hub's address, of the name that was checked
    if what == SPACE:
        st.success(f"Sent and checked: {text} Hugging Face now builds it, which takes some minutes.")
    else:
        st.success(f"Sent and checked: {text}")
