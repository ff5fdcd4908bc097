"""A small crawl written for the tests: Japanese, English and Chinese pages, a copy, an empty page, damage."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

SENTENCES = """\
雲雀は春の野原からまっすぐに空へ昇り、姿が見えなくなっても高い声だけが聞こえてくる。
この町の図書館は川沿いにあり、窓際の席からは季節ごとに色を変える並木がよく見える。
祖母は毎朝六時に起きて味噌汁を作り、庭の畑で採れた大根をたっぷりと入れてくれた。
新しい駅ができてから人の流れが変わり、古い商店街にも若い店主が少しずつ増えている。
雨が三日続いたあとの山道はぬかるみやすいので、底の厚い靴を履いて歩くほうがよい。
研究所では海水の温度を一時間ごとに測り、十年分の記録をだれでも見られるようにした。
計算機の記憶装置が足りなくなったときは、使っていない計算を止めてからやり直すとよい。
妹は動物の世話が好きで、将来は離島の診療所で獣医として働きたいと話している。
昔の旅人は峠の茶屋で足を休め、次の宿場までの道のりを主人に尋ねたものだという。
この辞典には方言の用例が豊富に載っており、地図と合わせて読むと広がり方がわかる。
夕方になると港に小さな船が戻り、市場の灯りの下で魚の値段が次々に決まっていく。
先生は答えを急がせず、生徒が自分の言葉で理由を説明できるまで静かに待っていた。
雪国の家は屋根の傾きが急で、積もった雪が自然に落ちるように工夫されている。
彼は壊れた時計を分解し、歯車を一つずつ油で拭いて、三晩かけて動くように直した。
試験の前日は新しい問題に手を出さず、間違えた箇所だけを読み返すことにしている。
畑の土が乾きすぎると種は芽を出さないので、朝と夕方に少しずつ水をやる必要がある。
会議の記録は当日のうちにまとめ、決まったことと宿題になったことを分けて書いておく。
月の裏側は地球から見えないが、探査機が撮った写真によってくわしい地形が知られている。
祭りの夜には川に灯籠が流され、遠くから太鼓の音が風に乗って途切れ途切れに届く。
この手順書は初心者のために書かれており、専門用語には必ず短い説明が添えられている。
古い木造の校舎は取り壊される予定だったが、卒業生の寄付によって残されることになった。
電車が遅れたため約束の時間に間に合わず、友人は駅前の喫茶店で本を読んで待っていた。
味付けを濃くするよりも、材料を炒める順番を変えたほうが香りがよく立つことがある。
子どもたちは落ち葉を集めて大きな山を作り、その上に次々と飛び込んで笑い合った。
水路の流れが弱くなった原因を調べると、上流の橋の下に流木が引っかかっていた。
写真を撮るときは背景の明るさを確かめ、人物の顔が暗くならないように立つ位置を選ぶ。
彼女の論文は言葉の変化を統計で示し、百年前の新聞と現在の放送を丁寧に比べている。
冬の夜空は空気が澄んでいるため、町の近くでも思いのほか多くの星を数えることができる。
売り上げが伸びない理由を店員に聞くと、品物の並べ方がわかりにくいという声が多かった。
渡り鳥の群れは湿地で羽を休め、数日のうちに南の島を目指してまた飛び立っていく。
約款を読まずに契約すると、あとで思わぬ費用を請求されることがあるので注意したい。
父は若いころに習った尺八を今も続けており、休日の午後になると縁側で一曲だけ吹く。
""".splitlines()

ENGLISH = """\
The lark rises from the field before the sun is over the hills.
Every record of the archive keeps the address of the page it came from.
A small library by the river lends books in eleven languages.
When the tide is low, the children look for shells between the stones.
The engineer wrote down each measurement twice and compared the columns.
An old map showed a road that nobody in the village remembered.
Bread tastes best on the day it was baked, with salt and a little oil.
The committee met on Tuesday and agreed to meet again on Thursday.
""".splitlines()

CHINESE = "这座城市的图书馆坐落在河边，读者可以在窗边看到四季变化的树木。工程师把每一次测量都记录了两遍。"


def japanese(seed: int, number: int = 17) -> str:
    """Sentences of our own in an order of their own, two a line."""
    chosen = random.Random(seed).sample(SENTENCES, number)
    return "\n".join("".join(chosen[start : start + 2]) for start in range(0, number, 2))


def english(seed: int, number: int = 400) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice(ENGLISH)[:-1]} ({rng.randint(1, 999)})." for _ in range(number // 10))


def html(text: str, lang: str) -> bytes:
    paragraphs = "".join(f"<p>{line}</p>" for line in text.split("\n"))
    page = f'<!DOCTYPE html><html lang="{lang}"><head><meta charset="utf-8"><title>{text[:12]}</title></head>'
    return f"{page}<body><main><h1>{text[:12]}</h1>{paragraphs}</main></body></html>".encode()


def record(number: int, body: bytes) -> bytes:
    """A WARC response as its own gzip member; stored, so that offsets do not depend on the zlib that is here."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\n"
        f"WARC-Target-URI: https://www.example.org/{number}.html\r\nWARC-Date: 2024-03-0{1 + number % 9}T00:00:00Z\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n", compresslevel=0, mtime=0)


def write_crawl(folder: Path) -> list[Path]:
    """Twenty records in two WARC files: 14 Japanese pages (one a copy), 3 English, 1 Chinese, 1 empty, 1 short."""
    pages = [html(japanese(seed), "ja") for seed in range(13)]
    pages += [html(japanese(4), "ja")]
    pages += [html(english(seed), "en") for seed in range(3)]
    pages += [html(CHINESE * 12, "zh"), b"", html("短い頁です。", "ja")]
    members = [record(number, body) for number, body in enumerate(pages)]
    paths = []
    for number in range(2):
        path = folder / f"CC-MAIN-2024-10-test-{number:05d}.warc.gz"
        path.write_bytes(b"".join(members[number::2]))
        paths.append(path)
    return paths
