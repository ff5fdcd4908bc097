"""What must be masked, what must not, and that masking is idempotent and linear. All names and numbers are made up."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from tasks.refine.phones import AREA_CODES
from tasks.refine.pii import PII_COUNTS, Masked, find, has_check_digit, mask
from tasks.refine.pii_config import PiiConfig
from tasks.refine.plain import plain
from tasks.refine.postal import PREFECTURES

EMAILS = [
    ("ご連絡は hibari@example.jp までどうぞ。", "ご連絡は <メールアドレス> までどうぞ。"),
    ("メールhibari@example.jpに送る", "メール<メールアドレス>に送る"),
    ("(sora.no-tori+news@mail.example.co.jp)", "(<メールアドレス>)"),
    ("ｈｉｂａｒｉ＠ｅｘａｍｐｌｅ．ｊｐ", "<メールアドレス>"),
    ("窓口＝hibari＠example.jp。", "窓口＝<メールアドレス>。"),
    ("hibari[at]example.jp の[at]は@に替える", "<メールアドレス> の[at]は@に替える"),
    ("hibari (アットマーク) example.jp", "<メールアドレス>"),
    ("hibari（アット）example.com", "<メールアドレス>"),
    ("mailto:hibari@example.org?subject=x", "mailto:<メールアドレス>?subject=x"),
    ("a@example.net、b@example.tokyo", "<メールアドレス>、<メールアドレス>"),
    ("「tori_99@xn--example.jp」", "「<メールアドレス>」"),
    ("<hibari@example.jp>", "<<メールアドレス>>"),
]
NO_EMAILS = [
    "@hibari という名前で投稿しています",
    "git clone git@example.com:hibari/nest.git",
    "アイコンは icon@2x.png を使う",
    "systemctl start getty@tty1.service",
    "@tori@example.social をフォローする",
    "行列 A@B を計算する",
    "ケーキ 3個@500円",
    "hibari@localhost では届かない",
    "pip install hibari@1.2.3",
    "@ example.jp",
    "hibari@example..jp",
    "駅前で(at)待つ",
]
PHONES = [
    ("電話:03-2000-0000まで", "電話:<電話番号>まで"),
    ("センター０３−２０００−００００", "センター<電話番号>"),
    ("センター03ー2000ー0000です", "センター<電話番号>です"),
    ("(03)2000-0000", "<電話番号>"),
    ("０４２２（２２）００００", "<電話番号>"),
    ("代表 06–2000–0000（平日）", "代表 <電話番号>（平日）"),
    ("携帯090-1234-5678", "携帯<電話番号>"),
    ("08012345678に電話して", "<電話番号>に電話して"),
    ("070 1234 5678", "<電話番号>"),
    ("IP電話 050-1234-5678", "IP電話 <電話番号>"),
    ("フリーダイヤル0120-000-000", "フリーダイヤル<電話番号>"),
    ("0120-000000", "<電話番号>"),
    ("0800-200-0000", "<電話番号>"),
    ("+81-3-2000-0000", "<電話番号>"),
    ("＋81 (0)90 1234 5678", "<電話番号>"),
    ("+819012345678", "<電話番号>"),
    ("TEL 0320000000", "TEL <電話番号>"),
    ("Tel.03-2000-0000FAX03-2000-0001", "Tel.<電話番号>FAX<電話番号>"),
    ("01267-2-0000", "<電話番号>"),
]
NO_PHONES = [
    "2024-01-02 の記録",
    "2024年01月02日03時04分",
    "価格は 03,200,000 円",
    "ISBN 978-4-00-000000-2",
    "ISBN 0-00-200000-5",
    "注文番号 1003-2000-0000",
    "03-2000-0000-12",
    "03-2000-00001",
    "製品ABC03-2000-0000",
    "会員番号 0320000000",
    "0320 0000 00",
    "03-1000-0000",  # no exchange starts with 1
    "0111-20-0000",  # no such area
    "090-0234-5678",
    "円周率は 3.14159265358979",
    "v0.03.2000.0000",
    "0123.4567.8901",
    "緯度 035-20-00000",
    "id=09012345678",
]
MY_NUMBERS = [
    ("個人番号は1234 5678 9018です", "個人番号は<個人番号>です"),
    ("マイナンバー：１２３４５６７８９０１８", "マイナンバー：<個人番号>"),
    ("マイナンバー（123456789018）", "マイナンバー（<個人番号>）"),
    ("My Number: 123456789018", "My Number: <個人番号>"),
    ("個人番号は「1234-5678-9018」", "個人番号は「<個人番号>」"),
    ("1234-5678-9018", "<個人番号>"),
    ("1234ー5678ー9018", "<個人番号>"),
    ("１２３４　５６７８　９０１８", "<個人番号>"),
    ("1234－5678－9018を提出", "<個人番号>を提出"),
    ("番号:0000-0000-0000,", "番号:<個人番号>,"),
]
NO_MY_NUMBERS = [
    "1234 5678 9012",
    "個人番号は1234 5678 9019です",
    "123456789018",
    "JAN 4512345678906 と 123456789018",
    "1234-5678-9018-1234",
    "4000-1234-5678-9018",
    "1234 5678-9018",
    "2020 2021 2007",
    "AB1234-5678-9018",
    "1234-5678-90189",
    "12345-6789-018",
    "0.1234 5678 9018",
    "マイナンバーカードは 2024年に 1億枚",
]
IP_ADDRESSES = [
    ("接続元は 100.20.30.40 です", "接続元は <IPアドレス> です"),
    ("http://100.20.30.40/index", "http://<IPアドレス>/index"),
    ("１００．２０．３０．４０から", "<IPアドレス>から"),
    ("100.20.30.40:8080", "<IPアドレス>:8080"),
    ("100.20.30.40/24", "<IPアドレス>/24"),
    ("100.20.30.40-100.20.30.50", "<IPアドレス>-<IPアドレス>"),
    ("100.20.30.40。", "<IPアドレス>。"),
    ("100.20.30.40.", "<IPアドレス>."),
    ("(2606:4700:1234::7)", "(<IPアドレス>)"),
    ("2606:4700:0:1:2:3:4:5 へ", "<IPアドレス> へ"),
    ("[2606:4700::1:7]:443", "[<IPアドレス>]:443"),
]
NO_IP_ADDRESSES = [
    "hibari 1.2.3.4 を公開した",
    "第 5.6.31.2 節",
    "バージョン 11.0.23.22",
    "Ver.100.20.30.40",
    "Chrome/100.20.30.40",
    "lib-100.20.30.40-1.deb",
    "100.20.30.40-rc1",
    "1.3.6.1.4.100.20.30",
    "100.200.300.400",
    "192.168.20.30 と 127.0.0.1",
    "文書用の 203.0.113.77 と 2001:db8::77",
    "時刻 12:34:56 と 00:11:22:33:44:55",
    "std::vector<int>::size と abc::def",
    "fe80::1:2:3",
]
ADDRESSES = [
    ("〒100-0000 東京都千代田区雲雀町1-2-3", "<郵便番号> 東京都<住所>"),
    ("〒１００−００００　東京都千代田区雲雀町１−２−３です", "<郵便番号>　東京都<住所>です"),
    ("〒1000000", "<郵便番号>"),
    ("〒 100-0000\n東京都千代田区雲雀町一丁目二番三号", "<郵便番号>\n東京都<住所>"),
    ("100-0000 北海道札幌市北区北七条西4丁目1-2", "<郵便番号> 北海道<住所>"),
    ("郵便番号：100-0000 雲雀市東町22番地の3", "郵便番号：<郵便番号> <住所>"),
    ("〒100-0000 三重県四日市市雲雀1丁目2番3号 ひばりビル4階へ", "<郵便番号> 三重県<住所>へ"),
    ("〒100-0000 京都府京都市上京区雲雀通538 空マンション201号室", "<郵便番号> 京都府<住所>"),
    ("（〒100-0000）", "（<郵便番号>）"),
    ("〒100-0000 東京都千代田区雲雀町にあります", "<郵便番号> 東京都千代田区雲雀町にあります"),
    ("〒100-0000東京都雲雀島村10", "<郵便番号>東京都<住所>"),
]
NO_ADDRESSES = [
    "東京都千代田区雲雀町1-2-3",
    "品番 100-0000 です",
    "100-0000 円の違い",
    "1000000 東京都の人口",
    "2100-0000 東京都",
    "100-00001 東京都",
    "0-100-0000 東京都",
    "〒マークの意味",
    "郵便番号は7桁です",
    "北海道で100-200匹",
    "〒12-3456",
]
CASES = {
    "email": (EMAILS, NO_EMAILS),
    "phone": (PHONES, NO_PHONES),
    "my_number": (MY_NUMBERS, NO_MY_NUMBERS),
    "ip_address": (IP_ADDRESSES, NO_IP_ADDRESSES),
    "postal_address": (ADDRESSES, NO_ADDRESSES),
}


def only(rule: str) -> PiiConfig:
    return PiiConfig(**{name: name == rule for name in CASES})


@pytest.mark.parametrize(
    ("rule", "text", "masked"), [(rule, *case) for rule, (positive, _) in CASES.items() for case in positive]
)
def test_is_masked(rule: str, text: str, masked: str) -> None:
    assert mask(text, only(rule)).text == masked


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, (_, negative) in CASES.items() for text in negative])
def test_is_left(rule: str, text: str) -> None:
    assert mask(text, only(rule)) == Masked(text, {})


def test_every_rule_has_its_cases() -> None:
    assert all(len(positive) >= 10 and len(negative) >= 10 for positive, negative in CASES.values())


def test_rules_do_not_take_one_anothers_finds() -> None:
    """With all rules on, each case is masked as with its own rule alone."""
    for positive, _ in CASES.values():
        for text, masked in positive:
            assert mask(text, PiiConfig()).text == masked


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_switched_off_finds_nothing(rule: str) -> None:
    text = "。\n".join(text for text, _ in CASES[rule][0])
    others = PiiConfig(**{rule: False})
    own = set(mask(text, only(rule)).counts)
    assert own
    assert not own & set(mask(text, others).counts)
    assert mask(text, PiiConfig(enabled=False)) == Masked(text, {})


def test_finds_are_counted_by_rule() -> None:
    text = (
        "〒100-0000 東京都千代田区雲雀町1-2-3\n電話 03-2000-0000、090-1234-5678\n"
        "メール hibari@example.jp\n個人番号 1234 5678 9018\nサーバー 100.20.30.40\n"
    )
    masked = mask(text, PiiConfig())
    assert masked.counts == dict(zip(PII_COUNTS, (1, 2, 1, 1, 1, 1), strict=True))
    assert masked.text == (
        "<郵便番号> 東京都<住所>\n電話 <電話番号>、<電話番号>\n"
        "メール <メールアドレス>\n個人番号 <個人番号>\nサーバー <IPアドレス>\n"
    )


def test_found_spans_are_of_the_text() -> None:
    text = "鳥𠮟る０９０−１２３４−５６７８と hibari@example.jp"
    assert [text[piece.start : piece.end] for piece in find(text, PiiConfig())] == [
        "０９０−１２３４−５６７８",
        "hibari@example.jp",
    ]


def test_masking_twice_changes_nothing() -> None:
    """On all cases, and on texts thrown together from their pieces, where one find may stand against another."""
    config = PiiConfig()
    cases = [text for positive, negative in CASES.values() for text in [*(text for text, _ in positive), *negative]]
    pieces = [
        *cases,
        "電話番号",
        "マイナンバー",
        "TEL",
        "〒",
        "-",
        " ",
        ".",
        "、",
        "\n",
        "東京都",
        "1",
        "0",
        "(",
        ")",
        "@",
    ]
    draw = random.Random(1)
    for _ in range(3000):
        text = "".join(draw.choices(pieces, k=draw.randint(1, 5)))
        once = mask(text, config).text
        assert mask(once, config) == Masked(once, {}), text


def test_masks_can_be_chosen_and_are_harmless() -> None:
    assert mask("hibari@example.jp", PiiConfig(email_mask="【連絡先】")).text == "【連絡先】"
    for wrong in ("", "<s>", "<|user|>", "[INST]", "<unk>", "住所", "<番号1>", "<あ@い>", "<a b>"):
        with pytest.raises(ValidationError, match="expected Japanese words in brackets"):
            PiiConfig(street_mask=wrong)


def test_reserved_addresses_are_masked_where_asked() -> None:
    text = "192.168.20.30、203.0.113.77、fe80::1:2"
    config = PiiConfig(keep_reserved_ip_addresses=False)
    assert mask(text, config).text == "<IPアドレス>、<IPアドレス>、<IPアドレス>"


def test_check_digit() -> None:
    """Of the ten last digits exactly one is right; the sums that leave 0 and 1 both give 0."""
    valid = [number for number in range(123456789010, 123456789020) if has_check_digit(str(number))]
    assert valid == [123456789018]
    assert has_check_digit("000000000000")  # rest 0
    assert has_check_digit("200000000000")  # 2 x 6 = 12, rest 1
    assert not has_check_digit("300000000000")  # 18, rest 7: the digit is 4
    assert has_check_digit("300000000004")


def test_the_numbering_plan_is_whole() -> None:
    assert {"03", "06", "011", "098", "0123", "0997", "04992", "09969"} <= AREA_CODES
    assert all(code[0] == "0" and code[1] != "0" and 2 <= len(code) <= 5 for code in AREA_CODES)
    assert len(PREFECTURES) == len(set(PREFECTURES)) == 47


def test_plain_keeps_places() -> None:
    text = "ａ１ー２　センターー𠮟\ud800－1"
    assert plain(text) == "a1-2 センターー\uffff\uffff－1"
    assert len(plain(text)) == len(text)


def test_what_makes_patterns_backtrack_ends() -> None:
    """Each takes milliseconds; with a pattern that is quadratic in its text, it would be minutes."""
    for piece in ("0", "0-", "(", "a@", "a.", "@a.", "1.", "a:", "::", "〒1", "+81-0", "[at ", "1234 ", "TEL", "一"):
        assert mask(piece * (100_000 // len(piece)), PiiConfig()).counts == {}
    codes = 100_000 // len("〒100-0000東京都市市市市市市市市")
    assert mask("〒100-0000東京都市市市市市市市市" * codes, PiiConfig()).counts == {"masked_post_codes": codes}
