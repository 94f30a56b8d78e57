from initprobe.cli.app import main

main()
