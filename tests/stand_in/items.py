"""What the bodies of the writing endpoints hold: the documented fields and their types."""

from __future__ import annotations

from collections.abc import Mapping

USER_ITEM: Mapping[str, type] = {
    "email": str,
    "userId": str,
    "preferUserId": bool,
    "mergeNestedObjects": bool,
    "dataFields": dict,
}


EMAIL_CHANGE: Mapping[str, type] = {"currentEmail": str, "currentUserId": str, "newEmail": str}


USER: Mapping[str, type] = {**USER_ITEM, "createNewFields": bool}


EVENT: Mapping[str, type] = {
    "eventName": str,
    "email": str,
    "userId": str,
    "id": str,
    "createdAt": int,
    "dataFields": dict,
    "campaignId": int,
    "templateId": int,
    "createNewFields": bool,
}
