# shellcheck shell=sh disable=SC1007,SC2015,SC2016,SC2034,SC2086,SC2125,SC2162,SC2254,SC2295
# Shows standard input in pages of numbered rows; see pages.rs. $1 is the mark of the command, descriptor 3 the
# terminal. Names are short because all of this is typed.
nlp1() ( LC_ALL=C; w=$1 i=0 b= p='*[! -~]*'; q=????????; q=$q$q$q$q$q$q$q
a() { while echo; printf %s "$b"; read k <&3; do [ "$k" ] || exit; [ "$k" = $i ] && break; done; b=; }
o() { i=$((i+1)); b="$b$w $i $1 ${#2} $2|
"; [ $((i%20)) != 0 ] && [ $1 != e ] || a; }
h() { while [ "$1" ]; do r=${1#?}; printf %02x "'${1%"$r"}"; set -- "$r"; done; }
while IFS= read -r l; do t=l; case $l in "$w"*) o e "${l#"$w"}"; exit;;
$p) t=x; l=$(h "$l");; esac
while [ ${#l} -gt 56 ]; do r=${l#$q}; o m "${l%"$r"}"; l=$r; done; o $t "$l"; done )
