"""`/api/{user_id}/profile`, `/preferences`."""

from litestar import Controller, get, patch, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.domain.users.schemas import (
    PreferencesRead,
    PreferencesReplace,
    PreferencesUpdate,
    ProfileRead,
    ProfileReplace,
    ProfileUpdate,
)
from app.domain.users.services import PreferencesService, ProfileService
from app.lib.auth import requires_owner

Profile = NamedDependency[ProfileService]
Preferences = NamedDependency[PreferencesService]


class ProfileController(Controller):
    """The user's own row."""

    path = "/{user_id:str}/profile"
    tags = ["users"]
    guards = [requires_owner]
    dependencies = {"profile": ProfileService.provide()}

    @get()
    async def get_profile(self, profile: Profile) -> ProfileRead:
        """Get the profile."""
        return await profile.get()

    @put()
    async def replace_profile(self, profile: Profile, data: JSONBody[ProfileReplace]) -> ProfileRead:
        """Replace the profile: what is left out goes back to its default."""
        return await profile.update(data)

    @patch()
    async def update_profile(self, profile: Profile, data: JSONBody[ProfileUpdate]) -> ProfileRead:
        """Change what is sent, as a JSON merge patch."""
        return await profile.update(data)


class PreferencesController(Controller):
    """How the user likes it."""

    path = "/{user_id:str}/preferences"
    tags = ["users"]
    guards = [requires_owner]
    dependencies = {"preferences": PreferencesService.provide()}

    @get()
    async def get_preferences(self, preferences: Preferences) -> PreferencesRead:
        """Get the preferences: the defaults, until others are written."""
        return await preferences.get()

    @put()
    async def replace_preferences(
        self, preferences: Preferences, data: JSONBody[PreferencesReplace]
    ) -> PreferencesRead:
        """Replace the preferences: what is left out goes back to its default."""
        return await preferences.update(data)

    @patch()
    async def update_preferences(self, preferences: Preferences, data: JSONBody[PreferencesUpdate]) -> PreferencesRead:
        """Change what is sent, as a JSON merge patch, within `notifications` too."""
        return await preferences.update(data)
