# npm ci of a project, from a cache beside it on the share. What is installed is what npm installed on the host.
supplies=/run/supplies/npm
cp -r $supplies/cache .
cp $supplies/package.json $supplies/package-lock.json .
node $supplies/npm/bin/npm-cli.js ci --offline --ignore-scripts --no-audit --no-fund --no-update-notifier --cache "$PWD/cache"
sha256sum --quiet -c $supplies/files.sha256
find node_modules -type l -printf '%p %l\n' | LC_ALL=C sort | diff - $supplies/links
node -e 'for (const name of ["eslint", "webpack", "express", "mocha"]) require(name)'
node node_modules/.bin/mocha --version
