# A build by several compilers at a time; make then finds nothing to do, and the right things after a change. Optimising is
# the processor's work alone, and an emulated one takes its time.
tar xf /run/supplies/lua.tar.gz --strip-components 1
build() { make -C src "$@" all CC=gcc SYSCFLAGS=-DLUA_USE_LINUX SYSLIBS='-Wl,-E -ldl' MYCFLAGS=-O0; }
build -s -j4
build -q
src/lua -e 'assert(select("#", table.unpack({1, 2, 3})) == 3 and string.rep("ab", 3) == "ababab" and 2^53 == 9007199254740992)'
echo 'print(("%d"):format(6 * 7))' > program.lua
src/luac -o program.out program.lua
test "$(src/lua program.out)" = 42
touch src/lapi.c
if build -q; then false; fi
build -n | grep -c -- '-c -o' | grep -qx 1
build -s -j4
build -q
