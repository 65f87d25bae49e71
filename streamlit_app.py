"""The app: its server, which ``streamlit run`` finds here by the name ``app``, and its first page, as which Streamlit
runs this file for every visitor."""

if __name__ == "__main__":
    from pages.components.home import home

    home()
else:
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    from ddpm.errors import ConfigError
    from ddpm.extensions import load_extensions
    from pages.components.door import Door

    try:
        load_extensions()
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None

    app = App(__file__, middleware=[Middleware(Door)])
