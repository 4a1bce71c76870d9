"""A mail server asked whether it takes our log-in. No mail is sent."""

from __future__ import annotations

import smtplib
import ssl
from urllib.parse import unquote, urlsplit

_ANSWER_S = 10.0


class MailRefused(Exception):
    """The server does not take the log-in, or does not answer. The message says why, without a secret."""


def log_in_to_mail_server(url: str) -> None:
    """Connect to *url* (`smtps://USER:PASSWORD@HOST`, or `smtp://` with STARTTLS), log in and leave. It blocks.

    Raises `MailRefused`.
    """
    try:
        parts = urlsplit(url)
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:
        raise MailRefused("the address cannot be read") from None
    if parts.scheme not in ("smtp", "smtps") or not host:
        raise MailRefused("the address must begin with smtps:// or smtp:// and name a host")
    context = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(host, port or 465, timeout=_ANSWER_S, context=context)
            if parts.scheme == "smtps"
            else smtplib.SMTP(host, port or 587, timeout=_ANSWER_S)
        ) as server:
            if parts.scheme == "smtp" and host not in ("localhost", "127.0.0.1", "::1"):
                server.starttls(context=context)
            if user is not None:
                server.login(unquote(user), unquote(password or ""))
            server.noop()
    except smtplib.SMTPAuthenticationError as error:
        raise MailRefused(f"the log-in is refused ({error.smtp_code})") from None
    except smtplib.SMTPException as error:
        raise MailRefused(f"the server refuses: {type(error).__name__}") from None
    except ValueError:  # a host or a password that cannot be written
        raise MailRefused("the address cannot be read") from None
    except OSError as error:
        raise MailRefused(f"no answer: {error.strerror or type(error).__name__}") from None
