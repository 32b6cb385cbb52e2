// The gate: `npm test`. This first file is written so that every Node with ES modules can parse it,
// because its work is to tell an old Node what is needed. The gate itself is in gate.mjs.
// oxlint-disable unicorn/prefer-node-protocol -- Node 12 does not know the prefix

import childProcess from 'child_process'
import fs from 'fs'
import path from 'path'
import url from 'url'

const NEEDED_MAJOR = 22
const NEEDED_MINOR = 13
const NEEDED = NEEDED_MAJOR + '.' + NEEDED_MINOR

const scriptsDir = path.dirname(url.fileURLToPath(import.meta.url))
const rootDir = path.dirname(scriptsDir)
const installedNode = path.join(rootDir, 'node_modules', '.bin', 'node')

function isNewEnough(version) {
  const parts = version.replace(/^v/, '').split('.').map(Number)
  return parts[0] > NEEDED_MAJOR || (parts[0] === NEEDED_MAJOR && parts[1] >= NEEDED_MINOR)
}

function versionOf(node) {
  const answer = childProcess.spawnSync(node, ['--version'], { encoding: 'utf8' })
  return answer.status === 0 ? answer.stdout.trim() : ''
}

function stop(message) {
  process.stderr.write(message + '\n')
  process.exit(1)
}

if (!fs.existsSync(path.join(rootDir, 'node_modules'))) {
  stop('The dependencies are not installed. Run: npm ci && npm test')
}

const candidates = [installedNode, process.execPath]
const node = candidates.filter(function (candidate) {
  return isNewEnough(versionOf(candidate))
})[0]

if (node === undefined) {
  stop(
    'Trunkline needs Node ' + NEEDED + ' or newer. This is ' + process.version + ' (' + process.execPath + '), and ' +
      (versionOf(installedNode) || 'no Node') + ' is in node_modules/.bin.\n' +
      'npm ci brings a Node that is new enough with it, where the install script of the package `node` may run. Run: npm ci && npm test',
  )
}

const gate = childProcess.spawnSync(node, [path.join(scriptsDir, 'gate.mjs')].concat(process.argv.slice(2)), {
  cwd: rootDir,
  stdio: ['ignore', 'inherit', 'inherit'],
})
process.exit(gate.status === null ? 1 : gate.status)
