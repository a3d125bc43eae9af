"""A small OpenID Connect provider, which a test runs as a process of its own: `python -m tests.openid_server --port N`.

It is strict where providers are: the client's secret, the redirect URI, PKCE, codes that work once. It signs for real.
`POST /control` with JSON changes its behaviour, the fields of `Behaviour`; `POST /mint` signs any claims. With `--odd`
it behaves as other providers do: ES256, a new key for each token, the secret in the form, the issuer in the answer, two
audiences, and neither e-mail, userinfo nor a way out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID, SECRET = "naru tests", "s3cret+with/odd%characters"
CODE_SECONDS = 60
#: Longer than anybody waits.
HANGS_SECONDS = 60


@dataclass
class Behaviour:
    """What a test may change."""

    redirect_uris: list[str] = field(default_factory=list)
    #: Claims of each person, by the name typed into the form. Others get an e-mail address and no groups.
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Claims that replace those of the ID token; null removes one.
    claims: dict[str, Any] = field(default_factory=dict)
    #: Fields that replace those of the discovery document; null removes one.
    metadata: dict[str, Any] = field(default_factory=dict)
    #: How far its clock is ahead.
    clock: int = 0
    #: Who signs: itself, a `stranger` with the same key id, `nobody` (alg none), or the client's `secret` (HS256).
    signs: str = "itself"
    #: The paths that do not answer.
    hangs: list[str] = field(default_factory=list)
    #: The paths that answer 500.
    fails: list[str] = field(default_factory=list)


class Server:
    """The provider."""

    def __init__(self, issuer: str, *, is_odd: bool) -> None:
        self.issuer, self.is_odd = issuer, is_odd
        self.behaviour = Behaviour()
        self.codes: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, int] = {}
        self.key = self.new_key()

    def new_key(self) -> Key:
        """Return a new key, with a new id."""
        made: Key = (
            ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig"})
            if self.is_odd
            else RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})
        )
        return made

    @property
    def algorithm(self) -> str:
        return "ES256" if self.is_odd else "RS256"

    @property
    def now(self) -> int:
        return int(time.time()) + self.behaviour.clock

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """Sign claims as the behaviour says."""
        signs = self.behaviour.signs
        key: Key = self.key
        algorithm = self.algorithm
        if signs == "stranger":
            key = type(self.key).generate_key(*(("P-256",) if self.is_odd else (2048,)))
        elif signs == "nobody":
            head, body = ({"alg": "none"}, claims)
            return f"{_encoded(json.dumps(head))}.{_encoded(json.dumps(body))}."
        elif signs == "secret":
            key, algorithm = OctKey.import_key(SECRET), "HS256"
        header = {"alg": algorithm, "kid": self.key.kid, **header}
        return jwt.encode(header, claims, key, registry=JWSRegistry(algorithms=[algorithm]))

    def claims_of(self, name: str) -> dict[str, Any]:
        """Return what it knows of a person."""
        known: dict[str, Any] = {"sub": f"sub-{name}", "name": name.title()}
        if not self.is_odd:
            known |= {"email": f"{name}@example.org", "email_verified": True, "groups": []}
        known |= self.behaviour.people.get(name, {})
        return {key: value for key, value in known.items() if value is not None}

    async def discovery(self, _: Request) -> Response:
        document: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "token_endpoint_auth_methods_supported": ["client_secret_post" if self.is_odd else "client_secret_basic"],
        }
        if self.is_odd:
            document["authorization_response_iss_parameter_supported"] = True
        else:
            document |= {
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "end_session_endpoint": f"{self.issuer}/logout",
                "code_challenge_methods_supported": ["S256"],
            }
        document |= self.behaviour.metadata
        return JSONResponse({key: value for key, value in document.items() if value is not None})

    async def keys(self, _: Request) -> Response:
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        """Show the form, for a request that this client may make."""
        params = request.query_params
        redirect_uri = params.get("redirect_uri", "")
        if params.get("client_id") != CLIENT_ID or redirect_uri not in self.behaviour.redirect_uris:
            return Response(f"unknown client or redirect URI {redirect_uri}", status_code=400)
        wrong = (
            params.get("response_type") != "code"
            or "openid" not in params.get("scope", "").split()
            or params.get("code_challenge_method") != "S256"
            or len(params.get("code_challenge", "")) != 43
            or not params.get("nonce")
        )
        if wrong:
            return self._back(redirect_uri, error="invalid_request", state=params.get("state", ""))
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in params.items()
        )
        return HTMLResponse(
            f'<title>The company</title><form method="post" action="/authorize">{hidden}<label>Name <input name="who">'
            '</label><button name="go" value="yes">Continue</button><button name="go" value="no">Cancel</button></form>'
        )

    async def decide(self, request: Request) -> Response:
        """Take the form, and send the browser back with a code or an error."""
        form = await _form(request)
        if form.get("go") == "no":
            return self._back(form["redirect_uri"], error="access_denied", state=form["state"])
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**form, "sid": secrets.token_hex(8), "until": time.monotonic() + CODE_SECONDS}
        return self._back(form["redirect_uri"], code=code, state=form["state"])

    def _back(self, redirect_uri: str, **params: str) -> Response:
        params |= {"iss": self.issuer} if self.is_odd else {}
        return RedirectResponse(f"{redirect_uri}?{urlencode(params)}", status_code=303)

    async def token(self, request: Request) -> Response:
        """Exchange a code, once."""
        form = await _form(request)
        if not self._is_client(request, form):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        code = self.codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        if (
            code is None
            or form.get("grant_type") != "authorization_code"
            or time.monotonic() > code["until"]
            or form.get("redirect_uri") != code["redirect_uri"]
            or _challenge(verifier) != code["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        access_token = secrets.token_urlsafe(16)
        known = self.claims_of(code["who"])
        self.tokens[access_token] = known
        if self.is_odd:
            self.key = self.new_key()
        audience = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID} if self.is_odd else {"aud": CLIENT_ID}
        claims = {
            **known,
            **audience,
            "iss": self.issuer,
            "iat": self.now,
            "exp": self.now + 300,
            "nonce": code["nonce"],
            "sid": code["sid"],
            "at_hash": _encoded(sha256(access_token.encode()).digest()[:16]),
            **self.behaviour.claims,
        }
        claims = {key: value for key, value in claims.items() if value is not None}
        answer: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": 300}
        return JSONResponse({**answer, "id_token": self.signed(claims)}, headers={"cache-control": "no-store"})

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        if self.is_odd:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, SECRET)
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic":
            return False
        name, _, secret = b64decode(given).decode().partition(":")
        return (unquote(name.replace("+", " ")), unquote(secret.replace("+", " "))) == (CLIENT_ID, SECRET) or (
            (name, secret) == (CLIENT_ID, SECRET)
        )

    async def userinfo(self, request: Request) -> Response:
        known = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        return JSONResponse(known) if known else JSONResponse({"error": "invalid_token"}, status_code=401)

    async def logout(self, request: Request) -> Response:
        back = request.query_params.get("post_logout_redirect_uri", "")
        return HTMLResponse(f'<title>The company</title>Signed out. <a href="{escape(back)}">Back</a>')

    async def control(self, request: Request) -> Response:
        """Change the behaviour, and tell how often each path was called."""
        wanted: dict[str, Any] = json.loads(await request.body() or b"{}")
        if wanted.pop("rotate", False):
            self.key = self.new_key()
        if wanted.pop("forget", False):
            self.behaviour = Behaviour(redirect_uris=self.behaviour.redirect_uris)
        for name, value in wanted.items():
            assert hasattr(self.behaviour, name), name
            setattr(self.behaviour, name, value)
        return JSONResponse(self.calls)

    async def mint(self, request: Request) -> Response:
        """Sign these claims, completed by the issuer, the audience, the times and an id; `header` is of the header."""
        given: dict[str, Any] = json.loads(await request.body())
        header = {"typ": "logout+jwt", **given.pop("header", {})}
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": self.now,
            "exp": self.now + 120,
            "jti": secrets.token_hex(8),
            **given,
        }
        claims = {key: value for key, value in claims.items() if value is not None}
        return Response(self.signed(claims, **{name: value for name, value in header.items() if value}))

    async def misbehave(self, request: Request) -> None:
        """Hang or fail where the behaviour says so, and count the call."""
        path = request.url.path
        self.calls[path] = self.calls.get(path, 0) + 1
        if path in self.behaviour.hangs:
            await asyncio.sleep(HANGS_SECONDS)

    def app(self) -> Starlette:
        """Return the ASGI app."""

        def route(path: str, handler: Any, method: str = "GET") -> Route:
            async def guarded(request: Request) -> Response:
                await self.misbehave(request)
                if path in self.behaviour.fails:
                    return Response("broken", status_code=500)
                answer: Response = await handler(request)
                return answer

            return Route(path, guarded, methods=[method])

        return Starlette(
            routes=[
                route("/.well-known/openid-configuration", self.discovery),
                route("/keys", self.keys),
                route("/authorize", self.authorize),
                route("/authorize", self.decide, "POST"),
                route("/token", self.token, "POST"),
                route("/userinfo", self.userinfo),
                route("/logout", self.logout),
                Route("/control", self.control, methods=["POST"]),
                Route("/mint", self.mint, methods=["POST"]),
            ]
        )


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def _encoded(data: str | bytes) -> str:
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def _challenge(verifier: str) -> str:
    return _encoded(sha256(verifier.encode()).digest())


def main() -> None:
    """Serve until the process is stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--odd", action="store_true")
    parser.add_argument("--tls", help="a file with a certificate and its key")
    chosen = parser.parse_args()
    server = Server(f"http{'s' if chosen.tls else ''}://127.0.0.1:{chosen.port}", is_odd=chosen.odd)
    uvicorn.run(server.app(), host="127.0.0.1", port=chosen.port, log_level="warning", ssl_certfile=chosen.tls)


if __name__ == "__main__":
    main()
