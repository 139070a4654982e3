# virtiofsd-ts: every target does its own set-up.

SHELL := /bin/bash
.DEFAULT_GOAL := help

STAMP := node_modules/.package-lock.json

# A line for each target, and below it the variables that it takes: what stands in brackets at the end of its comment.
define HELP
  function wrap(text,  n, words, i, line) {
    n = split(text, words, " ")
    for (i = 1; i <= n; i++) {
      if (length(line) + length(words[i]) > 76) { printf "%20s%s\n", "", line; line = "" }
      line = line words[i] " "
    }
    printf "%20s%s\n", "", line
  }
  {
    text = $$2; variables = ""
    if (match(text, / \([^()]*=.*\)$$/)) { variables = substr(text, RSTART + 2, RLENGTH - 3); text = substr(text, 1, RSTART - 1) }
    printf "%-18s  %s\n", $$1, text
    if (variables != "") wrap(variables)
  }
endef
export HELP

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' "$$HELP"

# What is installed already is not installed again because a file has a new date.
INSTALLED := node_modules/.installed-lock.json
# No package's install script is run: ours need none, and ioctl-napi's would download Node's headers.
$(STAMP): package.json package-lock.json native/package.json src/vhost-user/package.json src/virtio-fs/package.json
	@cmp -s package-lock.json $(INSTALLED) || { npm ci --ignore-scripts --loglevel=error && cp package-lock.json $(INSTALLED); }
	@touch $@

# Tests run compiled: tap without its TypeScript plugin, as package.json asks; that one cannot load with TypeScript 7.
TAP := node_modules/.tap-built
$(TAP): $(STAMP)
	@npx tap build >/dev/null
	@touch $@

NATIVE_SOURCES := $(wildcard native/src/* native/launcher/*) native/Makefile

# Prebuilt ones, which would be taken first, are older than what is compiled now.
native/build/native.node: $(STAMP) $(NATIVE_SOURCES)
	@rm -rf native/prebuilds
	@$(MAKE) -s -C native
	@touch $@

native/build/sanitized/native.node: $(STAMP) $(NATIVE_SOURCES)
	@$(MAKE) -s -C native OUT=build/sanitized SANITIZE=1
	@touch $@

.PHONY: sanitized
sanitized: native/build/sanitized/native.node ## Build the addon with AddressSanitizer and UndefinedBehaviorSanitizer

# The optional package ioctl-napi, compiled without node-gyp. The addon has the same call for when this fails.
IOCTL_NAPI := node_modules/ioctl-napi/build/Release/ioctl.node
$(IOCTL_NAPI): $(STAMP)
	@$(MAKE) -s -C native ioctl-napi || echo 'ioctl-napi does not compile here: the addon does its work'

.PHONY: build
build: native/build/native.node $(IOCTL_NAPI) $(TAP) ## Build the addon, compile TypeScript and bundle the program
	@npx tsc -b
	@node packaging/bundle.js
	@node dist/src/reference/write-manual.js dist/virtiofsd-ts.1

.PHONY: run
run: build ## Boot a Linux guest with a folder, or the file system of a module, on /mnt: a shell, or without a terminal a few checks (KERNEL=6.1, 6.12, 7 or a bzImage; DIR=, FILE_SYSTEM=, QEMU=, DEVICE=, ARGS=)
	@node dist/vm/run.js $(foreach name,DIR FILE_SYSTEM KERNEL MODULES QEMU DEVICE MEMORY CPUS,$(call option,$(name))) $(if $(ARGS),-- $(ARGS))

# DIR=path becomes --dir 'path', KERNEL_IMAGE=path becomes --kernel-image 'path'
option = $(if $($(1)),--$(shell echo $(1) | tr A-Z_ a-z-) '$($(1))')

.PHONY: lab
lab: JSON ?= results/lab.json
lab: HTML ?= results/lab.html
lab: REPRO ?= results/repro
lab: build ## Test kernels case by case, and print a matrix (KERNELS="6.1 6.12 7", KERNEL_IMAGE= with MODULES=, or TREE= with REV=, FLAVOUR=debug; CASES=glob, SHARES=glob, KERNEL_ARGS=, BOOT_LIMIT=seconds, QEMU=, DEVICE=virtiofsd or dev-fuse, EXPECT=, JSON=, HTML=, JUNIT=, REPRO=, KTAP=1)
	@vm/lab/lab $(foreach name,KERNELS KERNEL_IMAGE MODULES TREE REV FLAVOUR KERNEL_ARGS BOOT_LIMIT QEMU DEVICE CASES SHARES JUDGE_AS EXPECT JSON HTML JUNIT REPRO,$(call option,$(name))) $(if $(KTAP),--ktap)

.PHONY: lab-bisect
lab-bisect: build ## Find the commit that changed the result of a case (TREE=, GOOD=, BAD=; CASES=glob, SHARES=glob)
	@node dist/vm/lab-bisect.js $(foreach name,TREE GOOD BAD CASES SHARES KERNEL_ARGS QEMU,$(call option,$(name)))

.PHONY: lab-compare
lab-compare: build ## Show what two kernels do differently, with their requests (A=, B=: kernels or results; CASES=, SHARES=, BESIDE=share,share, HTML=)
	@node dist/vm/lab-compare.js $(foreach name,CASES SHARES BESIDE HTML,$(call option,$(name))) '$(A)' '$(B)'

.PHONY: lab-mutants
lab-mutants: build ## Measure which small faults in fs/fuse the lab finds (ONLY="1 2 30-39", JOBS=2, CASES="data/*", LONG=1)
	@node dist/vm/lab-mutants.js $(call option,ONLY) $(call option,JOBS) $(call option,CASES) $(if $(LONG),--long)

.PHONY: check
check: build ## Check types, lint and format, and run the unit tests (three minutes)
	npx biome check
	$(call tap,unit wire cli)

# Suites are folders of test/. Those that drive whole machines run two files at a time.
tap = npx tap run --reporter=terse --timeout=$(or $(2),120) $(if $(3),--jobs=$(3)) $(foreach suite,$(1),$(wildcard dist/test/$(suite)))

.PHONY: fuzz
fuzz: build sanitized ## Fuzz messages, rings, requests and states of migrations under sanitizers (MESSAGES=, SEED=, TARGET=messages, rings, races, requests, threads, trees or state; THREADS= of that target; REPLAY=an input)
	@node dist/test/fuzz/main.js $(foreach name,TARGET MESSAGES THREADS SEED REPLAY,$(call option,$(name)))

.PHONY: bench-operate
bench-operate: build ## Measure what metrics and limits cost, and how exactly a limit holds (ROUNDS=, RUN_MS=)
	@node dist/vm/bench-operate.js $(foreach name,ROUNDS RUN_MS,$(call option,$(name)))

.PHONY: bench-neighbours
bench-neighbours: build ## Measure what a flood on one share does to the latency of another (ROUNDS=, RUN_MS=, THREADS=)
	@node dist/vm/bench-neighbours.js $(foreach name,ROUNDS RUN_MS THREADS,$(call option,$(name)))

.PHONY: bench-queues
bench-queues: build ## Measure two queues served by one thread, by two devices, and by a thread for each (QUEUES=, ROUNDS=, RUN_MS=, ONLY=, PINNED=device or queues, POLL_US=, JSON=, ARGS=)
	@node dist/vm/bench-queues.js $(foreach name,QUEUES ROUNDS RUN_MS ONLY PINNED JSON,$(call option,$(name))) \
	  $(if $(POLL_US),--poll-us $(POLL_US)) $(if $(ARGS),-- $(ARGS))

.PHONY: bench-live-shares
bench-live-shares: build ## Measure what it costs a share when others are added and removed, and what they leave (COUNT=, THREADS=)
	@node dist/vm/bench-live-shares.js $(foreach name,COUNT THREADS,$(call option,$(name)))

.PHONY: bench-migration
bench-migration: build ## Measure how long a guest with many inodes in its cache stops for a migration, beside a peer (INODES=, ROUNDS=, PEER=)
	@node dist/vm/bench-migration.js $(foreach name,INODES ROUNDS PEER,$(call option,$(name)))

.PHONY: bench-confinement
bench-confinement: build ## Measure what --sandbox namespace --seccomp kill costs, compared with none (PAIRS=, RUN_MS=, ARGS=)
	@node dist/vm/bench-confinement.js $(foreach name,PAIRS RUN_MS ARGS,$(call option,$(name)))

.PHONY: soak
soak: build ## Run verified load under random faults, for MINUTES= (10) or HOURS= (SEED=; QUEUES=, THREADS=: several threads serve several queues; GUEST=6.12: in a guest)
	@node dist/test/soak/main.js $(foreach name,MINUTES HOURS SEED QUEUES THREADS GUEST,$(call option,$(name)))

.PHONY: bench-replace
bench-replace: build ## Let processes replace each other under a working guest; measure its pauses and their memory (COUNT=, SANDBOX=; GUEST=6.12: in a guest, for each cache policy; INODES=: with as many in the guest's cache)
	@node dist/test/soak/bench-replace.js $(foreach name,COUNT SANDBOX GUEST INODES,$(call option,$(name)))

.PHONY: kills
kills: build ## Send signals at random moments of start, reload, change and stop; report what is left behind (COUNT=, SEED=)
	@node dist/test/soak/kills.js $(foreach name,COUNT SEED,$(call option,$(name)))

.PHONY: test-frontend
test-frontend: build sanitized ## Test the program with a guest that is played without a VM, well-behaved and hostile
	$(call tap,frontend hostile reports,300,2)

.PHONY: test-guest
test-guest: build ## Test the device in real guests: kernels 6.1, 6.12 and 7.x, several QEMUs
	$(call tap,guest,1200,2)

.PHONY: work
work: build ## Do real work in a guest, for each cache policy (POLICIES="never auto always write-back", KERNEL=, QEMU=, ONLY=, PEER=virtiofsd)
	@node dist/vm/work.js $(foreach name,POLICIES KERNEL QEMU ONLY PEER,$(call option,$(name)))

.PHONY: migrations
migrations: build ## Move a guest MOVES times (50) between two QEMUs and our devices while fio, git and SQLite verify (POLICIES=, KERNEL=, QEMU=, MODE=find-paths)
	@node dist/vm/migrations.js $(foreach name,MOVES POLICIES KERNEL QEMU MODE,$(call option,$(name)))

.PHONY: public-suites
public-suites: build ## Run public test suites, built by you, in a guest on our device and a peer, or on a module's file system (PJDFSTEST=, XFSTESTS=, LTP=; POLICIES=, ONLY=, KERNEL=, QEMU=, FILE_SYSTEM=, PEER=)
	@node dist/vm/public-suites.js $(foreach name,PJDFSTEST XFSTESTS LTP POLICIES ONLY KERNEL QEMU FILE_SYSTEM PEER,$(call option,$(name)))

.PHONY: xfstests
xfstests: build ## Run xfstests on two shares: our device, a peer, an earlier run (XFSTESTS=, GROUP=quick or TESTS=, CACHE=, KERNEL= or TREE= with FLAVOUR=, PEER=, BASELINE=, LIMIT=, JSON=, JUNIT=)
	@node dist/vm/xfstests.js $(foreach name,XFSTESTS GROUP TESTS CACHE KERNEL TREE FLAVOUR QEMU PEER BASELINE LIMIT JSON JUNIT,$(call option,$(name)))

.PHONY: selftests
selftests: build ## Run the kernel's own selftests of FUSE, in a guest with that kernel (TREE=, or its tests on another KERNEL=)
	@node dist/vm/selftests.js $(foreach name,TREE KERNEL QEMU,$(call option,$(name)))

.PHONY: test
test: check test-frontend test-guest test-package ## Run check, test-frontend, test-guest and test-package (about 40 minutes on two cores without KVM)

.PHONY: bench
bench: JSON ?= results/bench.json
bench: HTML ?= results/bench.html
bench: build ## Measure guest I/O on our device beside a peer in one guest (PEER=virtiofsd, virtiofsd-1.14, none ...; QUICK=1, ALL=1, KERNEL=, ONLY=, CACHE=, ROUNDS=, DIR=, JSON=, HTML=, ARGS=)
	@node dist/vm/bench.js $(foreach name,PEER ONLY CACHE ROUNDS KERNEL MODULES QEMU DIR JSON HTML,$(call option,$(name))) \
	  $(if $(QUICK),--quick) $(if $(ALL),--all) $(if $(ARGS),-- $(ARGS))

.PHONY: bench-device
bench-device: build ## Measure our device beside others, and file systems of a user's own beside it (ONLY=own), without a VM (PEER=virtiofsd or none, QUICK=1, ONLY=, RUNS=, RUN_MS=, PLACEMENT=, POLL_US=, SANDBOX=1, JSON=, ARGS=)
	@node dist/vm/bench-device.js $(foreach name,PEER ONLY RUNS ROUNDS RUN_MS PLACEMENT JSON,$(call option,$(name))) \
	  $(if $(POLL_US),--poll-us $(POLL_US)) $(if $(QUICK),--quick) $(if $(SANDBOX),--sandbox) $(if $(ARGS),-- $(ARGS))

.PHONY: bench-limits
bench-limits: build ## Measure start, memory, idleness, many inodes, files and queues, 10 minutes of load (ONLY=, INODES=, MINUTES=)
	@node dist/vm/bench-limits.js $(foreach name,ONLY INODES MINUTES,$(call option,$(name)))

.PHONY: bench-compare
bench-compare: build ## Compare two results of bench-device, OLD=a.json NEW=b.json; fail if something became slower
	@node dist/vm/bench-compare.js $(OLD) $(NEW)

.PHONY: format
format: $(STAMP) ## Format and apply safe fixes
	npx biome check --write

.PHONY: install
install: build ## Install below PREFIX (/usr/local), in DESTDIR: program, manual page, completion, description for libvirt
	PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' VHOST_USER_DIR='$(VHOST_USER_DIR)' share/install.sh

.PHONY: dist
dist: build ## Make tarballs for x86-64 and arm64 with Node inside, and SHA256SUMS, in release/
	@packaging/dist.sh

.PHONY: deb
deb: build ## Make Debian packages for amd64 and arm64 in release/, and check them with lintian (needs debhelper, dh-apparmor, lintian)
	@packaging/deb.sh

.PHONY: test-package
test-package: build ## Test the npm packages: packed, installed into an empty folder, and started
	$(call tap,package/*.test.js,300)

.PHONY: test-roots
test-roots: dist deb ## Test what make dist and make deb made: in fresh Debian systems and a container, on arm64 by qemu-user, with Node 22 and 24, under systemd, libvirt and AppArmor (needs root)
	$(call tap,roots,900,1)

.PHONY: test-trees
test-trees: build ## Test the lab on kernels that it builds: a bisection over a history made for it (half an hour, 6 GB in the cache)
	$(call tap,trees,3600,1)

.PHONY: clean
clean: ## Remove what the build made (not the cache of kernels and packages)
	rm -rf dist release src/vhost-user/dist src/virtio-fs/dist native/build native/prebuilds .tap *.tsbuildinfo
