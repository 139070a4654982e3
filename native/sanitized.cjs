/**
 * Preloaded with node's --require, before the addon is: takes the one that was built with AddressSanitizer and
 * UndefinedBehaviorSanitizer (make sanitized). libasan has to be preloaded, too.
 */
const Module = require('node:module')
const { join } = require('node:path')

const ADDON = './build/Release/native.node'
const resolve = Module._resolveFilename

Module._resolveFilename = function (request, ...rest) {
  return request === ADDON ? join(__dirname, 'sanitized', ADDON) : resolve.call(this, request, ...rest)
}
