"""`/api/{user_id}/profile`, `/preferences`, `/export`, `/account`, and `/admin`."""

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.domain.users.administration import UserAdministration
from app.domain.users.schemas import (
    PreferencesRead,
    PreferencesReplace,
    PreferencesUpdate,
    ProfileRead,
    ProfileReplace,
    ProfileUpdate,
    UserQuery,
    UserRead,
)
from app.domain.users.services import AccountService, PreferencesService
from app.lib.auth.guards import requires_owner, requires_role
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide_singleton
from app.lib.http.requests import ApiRequest
from app.lib.http.streaming import JSON_LINES, JsonLines
from app.lib.validation.query import Page

Account = NamedDependency[AccountService]
Preferences = NamedDependency[PreferencesService]
Administration = NamedDependency[UserAdministration]


class ProfileController(Controller):
    """The user's own row."""

    path = "/{user_id:str}/profile"
    tags = ["users"]
    opt = scopes("profile")
    guards = [requires_owner]
    dependencies = {"account": provide_singleton(AccountService)}

    @get()
    async def get_profile(self, account: Account) -> ProfileRead:
        """Get the profile."""
        return await account.fetch()

    @put()
    async def replace_profile(self, account: Account, data: JSONBody[ProfileReplace]) -> ProfileRead:
        """Replace the profile: what is left out goes back to its default."""
        return await account.patch(data)

    @patch()
    async def update_profile(self, account: Account, data: JSONBody[ProfileUpdate]) -> ProfileRead:
        """Change what is sent, as a JSON merge patch."""
        return await account.patch(data)


class PreferencesController(Controller):
    """How the user likes it."""

    path = "/{user_id:str}/preferences"
    tags = ["users"]
    opt = scopes("profile")
    guards = [requires_owner]
    dependencies = {"preferences": provide_singleton(PreferencesService)}

    @get()
    async def get_preferences(self, preferences: Preferences) -> PreferencesRead:
        """Get the preferences: the defaults, until others are written."""
        return await preferences.fetch()

    @put()
    async def replace_preferences(
        self, preferences: Preferences, data: JSONBody[PreferencesReplace]
    ) -> PreferencesRead:
        """Replace the preferences: what is left out goes back to its default."""
        return await preferences.patch(data)

    @patch()
    async def update_preferences(self, preferences: Preferences, data: JSONBody[PreferencesUpdate]) -> PreferencesRead:
        """Change what is sent, as a JSON merge patch, within `notifications` too."""
        return await preferences.patch(data)


class AccountController(Controller):
    """Everything of the user at once."""

    path = "/{user_id:str}"
    tags = ["users"]
    opt = scopes("account")
    guards = [requires_owner]
    dependencies = {"account": provide_singleton(AccountService)}

    @get("/export", media_type=JSON_LINES)
    async def export_account(self, account: Account) -> JsonLines:
        """Export everything of the user, a line each: first the profile."""
        return JsonLines(account.export())

    @delete("/account")
    async def delete_account(self, account: Account, request: ApiRequest) -> None:
        """Erase everything of the user, at once and for good."""
        await account.erase(request.app.state.users)


class AdminController(Controller):
    """What administrators see and do: users, and numbers; never a row that is a user's."""

    path = "/{user_id:str}/admin"
    tags = ["admin"]
    guards = [requires_owner, requires_role("admin")]  # no scope: no access token gets here
    dependencies = {"administration": UserAdministration.provide()}

    @get("/users")
    async def list_users(self, administration: Administration, criteria: NamedDependency[UserQuery]) -> Page[UserRead]:
        """List users, the oldest first."""
        return await administration.list_users(criteria)

    @post("/users/{member_id:str}/deactivate", status_code=200)
    async def deactivate_user(self, administration: Administration, member_id: FromPath[str]) -> UserRead:
        """Answer a user's requests with 403, within seconds; safe to repeat."""
        return await administration.set_active(member_id, active=False)

    @post("/users/{member_id:str}/reactivate", status_code=200)
    async def reactivate_user(self, administration: Administration, member_id: FromPath[str]) -> UserRead:
        """Let a deactivated user in again; safe to repeat."""
        return await administration.set_active(member_id, active=True)

    @get("/counts")
    async def get_counts(self, administration: Administration) -> dict[str, int]:
        """Count users, and the rows of all of them together."""
        return await administration.count()
