# fio writes and verifies through the page cache, past it, and by a mapping, until STOP is there: verified-io.sh STOP.
stop=$1
rounds=0
while [ $rounds = 0 ] || [ ! -e "$stop" ]; do
  for engine in 'psync --bs=4k' 'libaio --iodepth=8 --direct=1 --bs=4k' 'mmap --bs=4k'; do
    fio --name=job --filename=data --size=2M --rw=randwrite --thread --ioengine=$engine \
      --verify=crc32c --verify_fatal=1 --do_verify=1 --output-format=terse
  done
  rounds=$((rounds + 1))
done
echo "$rounds rounds of fio"
