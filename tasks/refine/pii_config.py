"""The `refine.pii` section of a run file.

PiiConfig(ip_address=False, email_mask="<連絡先>")
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

# Words in brackets, with no letter of ASCII alone between them: tokenizers own <s>, <unk>, <0x0A>, <|im_end|>, [INST].
_MASK = re.compile(r"(?=.*[\u3041-\u9fff])[<＜【〔〈《［]([^\d@＠〒\s|()<>]+)[>＞】〕〉》］]")


class PiiConfig(BaseModel):
    """Personal information that is masked in the text of kept documents; each rule can be switched off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="off: text stays as it is; not in Swallow's recipe")
    email: bool = Field(default=True, description="mask e-mail addresses; Hibari")
    phone: bool = Field(
        default=True,
        description="mask Japanese telephone numbers, by the area codes of the Ministry of Internal Affairs and "
        "Communications' numbering plan; Hibari",
    )
    my_number: bool = Field(
        default=True,
        description="mask 12-digit My Numbers with a valid check digit (ministerial ordinance 85 of 2014, article 5); "
        "Hibari",
    )
    ip_address: bool = Field(default=True, description="mask IPv4 and IPv6 addresses; Hibari")
    keep_reserved_ip_addresses: bool = Field(
        default=True,
        description="leave private, loopback, documentation and other addresses that lead to nobody "
        "(the IANA special-purpose registries); Hibari",
    )
    postal_address: bool = Field(
        default=True,
        description="mask post codes and the address after one, up to the block and room; the prefecture stays; Hibari",
    )
    email_mask: str = Field(default="<メールアドレス>", description="what stands for an e-mail address")
    phone_mask: str = Field(default="<電話番号>", description="what stands for a telephone number")
    my_number_mask: str = Field(default="<個人番号>", description="what stands for a My Number")
    ip_address_mask: str = Field(default="<IPアドレス>", description="what stands for an IP address")
    post_code_mask: str = Field(default="<郵便番号>", description="what stands for a post code and its 〒")
    street_mask: str = Field(default="<住所>", description="what stands for an address below its prefecture")

    @field_validator("*")
    @classmethod
    def _is_harmless(cls, value: Any) -> Any:
        """A mask must be no token of a tokenizer, and nothing that a rule finds when it comes by again."""
        if isinstance(value, str) and not _MASK.fullmatch(value):
            raise ValueError(
                f"{value!r}: expected Japanese words in brackets, such as <住所>, without digits, @, 〒 or spaces: "
                "else tokenizers could take it for a special token, or a second pass for something to mask"
            )
        return value
