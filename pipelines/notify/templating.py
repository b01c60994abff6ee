"""Templates of this package: jinja2 in a sandbox, HTML escaped, and a name that is not given is an error."""

from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import SandboxedEnvironment


def environment(package: str) -> SandboxedEnvironment:
    """Make the environment of the folder `templates` of a package."""
    return SandboxedEnvironment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
