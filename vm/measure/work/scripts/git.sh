# A repository with a history: imported, packed, cloned, checked out at other commits, checked.
commits=${COMMITS:-1000}
git config --global gc.auto 0
git config --global advice.detachedHead false

python3 - "$commits" > /tmp/history <<'END'
import random, sys
random.seed(1)
for n in range(1, int(sys.argv[1]) + 1):
    text = "".join(random.choices("abcdef \n", k=random.randrange(10, 3000)))
    print(f"commit refs/heads/main\nmark :{n}\ncommitter A <a@b> {1000000000 + n} +0000\ndata 2\nx\n")
    print(f"M 100644 inline d{n % 7}/f{n % 300}\ndata {len(text)}\n{text}")
END
git init -q -b main repository
git -C repository fast-import --quiet < /tmp/history
git -C repository reset -q --hard
git -C repository gc -q
# Hard links first, as git does on one file system, then copies.
git clone -q repository linked
git clone -q --no-hardlinks repository clone
for place in linked clone; do
  git -C $place fsck --full --strict
  test "$(git -C $place rev-list --count HEAD)" = "$commits"
  test -z "$(git -C $place status --porcelain)"
done
cd clone
before=$(git ls-files -s | sha256sum)
git checkout -q "HEAD~$((commits / 2))"
git checkout -q main
# Loose objects again, and a pack of them all.
for n in 1 2 3; do
  echo $n >> d1/f1
  git -c user.name=A -c user.email=a@b commit -q -a -m "$n"
done
git reset -q --hard HEAD~3
git reflog expire --expire=now --all
git gc -q --prune=now
git fsck --full --strict
test "$(git ls-files -s | sha256sum)" = "$before"
test -z "$(git status --porcelain)"
