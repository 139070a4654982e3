# Clones a repository again and again until STOP is there, and checks each clone: clones.sh STOP.
stop=$1
git init -q -b main repository
for n in $(seq 20); do
  for f in 1 2 3 4 5; do
    head -c 3000 /dev/urandom | base64 > repository/$f
  done
  git -C repository add .
  git -C repository -c user.name=A -c user.email=a@b commit -q -m "$n"
done
want=$(git -C repository ls-files -s | sha256sum)
rounds=0
while [ $rounds = 0 ] || [ ! -e "$stop" ]; do
  git clone -q --no-hardlinks repository clone
  git -C clone fsck --full --strict --no-progress
  test "$(git -C clone ls-files -s | sha256sum)" = "$want"
  test -z "$(git -C clone status --porcelain)"
  rm -rf clone
  rounds=$((rounds + 1))
done
echo "$rounds clones"
