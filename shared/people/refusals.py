"""Refusals of company sign-in, and of commands about accounts and groups: branches of the tree in shared/errors.py.

Refused
└── AdminOnly             only administrators may do this, and this person is none now
AccountRefused
├── BadGroupName          empty, too long, or with characters that are not printed
├── BadModelPattern       not provider/model
├── SeveralAccounts       the e-mail address belongs to several accounts
├── NoPassword            the company signs this person in
├── NotConfirmed          the word that confirms a deletion was not typed
└── CompanyRefused        the company's sign-in service and Naru do not agree on a person
    ├── SignInExpired     the sign-in is old, was used, or began in another browser
    ├── SignInCancelled   the person said no there
    ├── SignInUnreachable the service does not answer in time
    ├── SignInRefused     the service answered with an error
    ├── SignInInvalid     the service sent something that fails a check
    ├── SignInClocks      its clock and ours are too far apart
    ├── IssuerChanged     another issuer has signed in the same subject before
    ├── NotAdmitted       none of the person's groups may enter
    ├── BadGroups         the groups are not a list of names
    └── AccountDisabled   an administrator has closed the account
"""

from __future__ import annotations

from shared.errors import AccountRefused, Refused


class AdminOnly(Refused):
    """This is for administrators."""

    code = "admin_only"


class BadGroupName(AccountRefused):
    """The name of a group has 1 to 100 printable characters."""

    code = "bad_group_name"


class BadModelPattern(AccountRefused):
    """A model is provider/model, where * stands for any text; a group names at most 50."""

    code = "bad_model_pattern"


class SeveralAccounts(AccountRefused):
    """Several accounts have this e-mail address. Name one by its id, person:…, which ./naru people list shows."""

    code = "several_accounts"


class NoPassword(AccountRefused):
    """This account has no password: the company's sign-in service signs the person in."""

    code = "no_password"


class NotConfirmed(AccountRefused):
    """The word that confirms this was not typed."""

    code = "not_confirmed"


class CompanyRefused(AccountRefused):
    """The company's sign-in service did not sign this person in."""

    code = "company_refused"


class SignInExpired(CompanyRefused):
    """This sign-in has expired, was used already or began in another browser."""

    code = "sign_in_expired"


class SignInCancelled(CompanyRefused):
    """The sign-in was cancelled."""

    code = "sign_in_cancelled"


class SignInUnreachable(CompanyRefused):
    """The company's sign-in service does not respond."""

    code = "sign_in_unreachable"


class SignInRefused(CompanyRefused):
    """The company's sign-in service refused the sign-in."""

    code = "sign_in_refused"


class SignInInvalid(CompanyRefused):
    """The company's sign-in service sent something that can't be verified."""

    code = "sign_in_invalid"


class SignInClocks(CompanyRefused):
    """The clocks of this server and of the company's sign-in service are too far apart."""

    code = "sign_in_clocks"


class IssuerChanged(CompanyRefused):
    """The address of the company's sign-in service has changed."""

    code = "issuer_changed"


class NotAdmitted(CompanyRefused):
    """None of the person's groups may use Naru."""

    code = "not_admitted"


class BadGroups(CompanyRefused):
    """The company's sign-in service sent the groups in a form that can't be read."""

    code = "bad_groups"


class AccountDisabled(CompanyRefused):
    """This account is disabled."""

    code = "account_disabled"
