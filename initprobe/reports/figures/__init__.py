"""reports.figures"""
