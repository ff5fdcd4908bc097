"""WARC files and Japanese pages for tests: written here, byte by byte."""

from __future__ import annotations

import gzip
from pathlib import Path

PARAGRAPHS = (
    "雲雀は春になると麦畑の上を高く舞い上がり、姿が見えなくなるほどの高さで長いあいだ鳴き続ける。"
    "巣は地面の浅いくぼみに枯れ草を敷いて作られ、卵の色は土とほとんど見分けがつかない。"
    "親鳥は敵に巣の場所を知られないよう、少し離れたところに降りてから歩いて戻るという。",
    "祖父の家の裏には小さな川が流れていて、夏休みの朝はいつも魚をすくう網を持って出かけた。"
    "水面に映る入道雲を崩さないように、そっと足を入れると、石の下から沢蟹が慌てて逃げ出す。"
    "昼になれば縁側で冷えた西瓜を食べ、夕立が過ぎるのを待ちながら古い将棋盤を囲んだ。",
    "町の図書館が建て替えられることになり、窓際の席に座って最後の一日を静かに過ごした。"
    "司書の女性は、貸し出しの記録を紙の札で数えていた頃の話を楽しそうに聞かせてくれる。"
    "新しい建物では機械が本を運ぶそうだが、あの木の匂いだけは残してほしいと私は思った。",
    "味噌汁の出汁を取るとき、昆布は水から入れ、煮立つ前に引き上げるのが母のやり方である。"
    "削り節を加えたら火を止め、沈むまで待って布で漉すと、澄んだ金色の汁が鍋に残る。"
    "具は豆腐と若布だけで十分で、葱は食べる直前に刻むから香りが立つのだと教わった。",
    "冬の港では夜明け前から競りの声が響き、湯気の立つ食堂に漁師たちが次々と集まってくる。"
    "凍えた指で湯呑みを包みながら、今日は鱈がよく揚がったと誰かが低い声でつぶやいた。"
    "窓の外では灯台の光がまだ回っており、東の空だけがうっすらと白み始めていた。",
)
JAPANESE = "\n".join(PARAGRAPHS)
ENGLISH = "The quick brown fox jumps over the lazy dog while the printer hums in the next room."


def html(*paragraphs: str, lang: str = "ja", charset: str | None = "utf-8", title: str = "春の記録") -> str:
    """A page of paragraphs."""
    meta = f'<meta charset="{charset}">' if charset else ""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    head = f"<head>{meta}<title>{title}</title></head>"
    return f'<!DOCTYPE html><html lang="{lang}">{head}<body>{body}</body></html>'


def record(
    number: int,
    body: bytes,
    *,
    content_type: str | None = "text/html; charset=utf-8",
    status: str = "200 OK",
    kind: str = "response",
    headers: str = "",
) -> bytes:
    """One WARC record, not compressed."""
    typed = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
    block = f"HTTP/1.1 {status}\r\n{typed}{headers}\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Date: 2024-03-01T12:00:{number % 60:02d}Z\r\nWARC-Target-URI: https://example.jp/{number}.html\r\n"
        f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def member(data: bytes) -> bytes:
    """A gzip member that is the same bytes at any time of day."""
    return gzip.compress(data, 6, mtime=0)


def write_warc(path: Path, records: list[bytes]) -> list[int]:
    """Write records, each in a gzip member of its own; their offsets."""
    members = [member(data) for data in records]
    path.write_bytes(b"".join(members))
    return [sum(map(len, members[:index])) for index in range(len(members))]
