# Files that a model in memory is compared with, until STOP is there: model.sh STOP.
stop=$1
rounds=0
while [ $rounds = 0 ] || [ ! -e "$stop" ]; do
  file-soak soak $rounds 1 20 > log
  rm -rf soak
  rounds=$((rounds + 1))
done
echo "$rounds runs of file-soak"
