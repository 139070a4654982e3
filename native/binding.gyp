{
  "variables": { "sanitize%": 0 },
  "target_defaults": {
    "conditions": [
      ["sanitize==1", {
        "cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"],
        "ldflags": ["-fsanitize=address,undefined"]
      }]
    ]
  },
  "targets": [
    {
      "target_name": "native",
      "sources": [
        "src/module.c",
        "src/args.c",
        "src/async.c",
        "src/constants.c",
        "src/credentials.c",
        "src/directory.c",
        "src/events.c",
        "src/file.c",
        "src/guest-cursor.c",
        "src/guest-io.c",
        "src/guest-memory.c",
        "src/inode.c",
        "src/lock.c",
        "src/path.c",
        "src/pool.c",
        "src/process.c",
        "src/seccomp.c",
        "src/socket.c",
        "src/uring.c",
        "src/xattr.c"
      ],
      "conditions": [["sanitize==1", { "sources": ["src/sanitizer-trap.c"], "defines": ["SANITIZED"] }]],
      "defines": ["_GNU_SOURCE", "NAPI_VERSION=8"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wno-unused-parameter", "-fvisibility=hidden", "-O2", "-pthread"]
    },
    {
      "target_name": "launcher",
      "type": "executable",
      "sources": [
        "launcher/arguments.c",
        "launcher/launcher.c",
        "launcher/namespaces.c",
        "launcher/privileges.c",
        "launcher/supervisor.c",
        "launcher/user-namespace.c"
      ],
      "defines": ["_GNU_SOURCE"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-O2"]
    }
  ]
}
