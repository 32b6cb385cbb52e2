// `npm run demo`: starts examples/order-flow on a Node that is new enough. This file is written so that every
// Node with ES modules can parse it; what needs a newer one is loaded there.
// oxlint-disable unicorn/prefer-node-protocol -- Node 12 does not know the prefix

import childProcess from 'child_process'
import fs from 'fs'
import path from 'path'
import url from 'url'

const rootDir = path.dirname(path.dirname(url.fileURLToPath(import.meta.url)))
const installedNode = path.join(rootDir, 'node_modules', '.bin', 'node')

// The demo's files are TypeScript, which Node runs by itself from 22.18 on.
function isNewEnough(version) {
  const parts = version.replace(/^v/, '').split('.').map(Number)
  return parts[0] > 23 || (parts[0] === 23 && parts[1] >= 6) || (parts[0] === 22 && parts[1] >= 18)
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
  stop('The dependencies are not installed. Run: npm ci && npm run demo')
}

const node = [installedNode, process.execPath].filter(function (candidate) {
  return isNewEnough(versionOf(candidate))
})[0]

if (node === undefined) {
  stop(
    'The demo needs Node 22.18 or newer. This is ' + process.version + ', and ' + (versionOf(installedNode) || 'no Node') +
      ' is in node_modules/.bin.\nRun: npm ci && npm run demo',
  )
}

const program = path.join(rootDir, 'scripts', 'run-demo.mjs')
// The channel tells the demo when this process is gone, even if it was killed.
const child = childProcess.spawn(node, ['--disable-warning=ExperimentalWarning', program].concat(process.argv.slice(2)), {
  stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
})
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
signals.forEach(function (signal) {
  process.on(signal, function () {
    child.kill(signal)
  })
})
child.on('error', function (error) {
  stop(String(error))
})
child.on('exit', function (code) {
  process.exit(code === null ? 1 : code)
})
